"""Masks of SOLO: the mask features of a level convolved with the kernel that its cell learned."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from solo.models.decoders.base import LevelMaskDecoder
from solo.ops import dynamic_mask_loss
from solo.ops.mask_loss import MaskLoss
from solo.structures import GridTargets, SOLOOutputs


class SOLOMaskDecoder(LevelMaskDecoder):
    """Learned kernels (SOLO paper, section 3.2).

    The reference implementations double the features before the convolution. Doubling the logits gives the same masks,
    by linearity, with a quarter of the products.
    """

    def __init__(self, outputs: SOLOOutputs) -> None:
        self._outputs = outputs
        height, width = outputs.mask_feats[0].shape[-2:]
        super().__init__(
            level_sizes=[len(level) for level in outputs.kernels],
            mask_strides=outputs.mask_strides,
            finest_size=(2 * height, 2 * width),
        )

    def decode_level(self, level: int, image: int, cells: Tensor) -> Tensor:
        mask_feats = self._outputs.mask_feats[level][image]  # (F, h_l, w_l)
        columns = mask_feats.flatten(1)
        kernels, biases = (x[level][cells].to(columns.dtype) for x in (self._outputs.kernels, self._outputs.biases))
        logits = torch.addmm(biases[:, None], kernels, columns).view(len(cells), *mask_feats.shape[1:])
        return _double(logits.float()).sigmoid_()

    def level_loss(
        self, level: int, targets: GridTargets, *, weights: Tensor, loss: MaskLoss, chunk_bytes: int
    ) -> Tensor:
        return dynamic_mask_loss(
            self._outputs.mask_feats[level],
            self._outputs.kernels[level][targets.cell_idx],
            targets.masks,
            biases=self._outputs.biases[level][targets.cell_idx],
            object_idx=targets.object_idx,
            positives_per_image=targets.positives_per_image,
            weights=weights,
            loss=lambda logits, masks: loss(_double(logits), masks),
            chunk_bytes=chunk_bytes,
        )


def _double(logits: Tensor) -> Tensor:
    """(n, height, width) to twice the size."""
    return F.interpolate(logits[None], scale_factor=2, mode="bilinear")[0]
