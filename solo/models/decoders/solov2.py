"""Masks of SOLOv2: the mask features convolved with the kernel that a cell predicts."""

from __future__ import annotations

from torch import Tensor

from solo.models.decoders.base import MaskDecoder
from solo.ops import dynamic_conv, dynamic_mask_loss
from solo.ops.mask_loss import MaskLoss
from solo.structures import GridTargets, SOLOv2Outputs


class SOLOv2MaskDecoder(MaskDecoder):
    """Dynamic kernels (SOLOv2 paper, section 3.2)."""

    def __init__(self, outputs: SOLOv2Outputs) -> None:
        self._outputs = outputs
        height, width = outputs.mask_feats.shape[-2:]
        self.mask_size = (height, width)

    def decode(self, image: int, cells: Tensor) -> Tensor:
        return dynamic_conv(self._outputs.mask_feats[image], self._outputs.kernels[image, cells]).float().sigmoid_()

    def mask_loss(self, targets: GridTargets, *, weights: Tensor, loss: MaskLoss, chunk_bytes: int) -> Tensor:
        return dynamic_mask_loss(
            self._outputs.mask_feats,
            self._outputs.kernels[targets.image_idx, targets.cell_idx],
            targets.masks,
            object_idx=targets.object_idx,
            positives_per_image=targets.positives_per_image,
            weights=weights,
            loss=loss,
            chunk_bytes=chunk_bytes,
        )
