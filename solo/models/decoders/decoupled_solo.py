"""Masks of Decoupled SOLO: the product of the map of a cell's column and the map of its row."""

from __future__ import annotations

from torch import Tensor

from solo.models.decoders.base import LevelMaskDecoder, resize_maps
from solo.ops import product_mask_loss
from solo.ops.mask_loss import MaskLoss
from solo.structures import DecoupledSOLOOutputs, GridTargets


class DecoupledSOLOMaskDecoder(LevelMaskDecoder):
    """Products of probabilities (SOLO paper, section 3.4)."""

    def __init__(self, outputs: DecoupledSOLOOutputs) -> None:
        self._outputs = outputs
        self._sides = [level.shape[1] for level in outputs.x_logits]  # G of each level
        height, width = outputs.x_logits[0].shape[-2:]
        super().__init__(
            level_sizes=[side**2 for side in self._sides],
            mask_strides=outputs.mask_strides,
            finest_size=(height, width),
        )

    def decode_level(self, level: int, image: int, cells: Tensor) -> Tensor:
        rows, columns = cells // self._sides[level], cells % self._sides[level]
        # Resized before the product, as in the reference implementations.
        x, y = (
            resize_maps(logits[level][image, idx].float().sigmoid_(), self.mask_size)  # (n, h, w)
            for logits, idx in ((self._outputs.x_logits, columns), (self._outputs.y_logits, rows))
        )
        return x.mul_(y)

    def level_loss(
        self, level: int, targets: GridTargets, *, weights: Tensor, loss: MaskLoss, chunk_bytes: int
    ) -> Tensor:
        return product_mask_loss(
            self._outputs.x_logits[level],
            self._outputs.y_logits[level],
            targets.masks,
            image_idx=targets.image_idx,
            x_idx=targets.cell_idx % self._sides[level],
            y_idx=targets.cell_idx // self._sides[level],
            object_idx=targets.object_idx,
            weights=weights,
            loss=loss,
            chunk_bytes=chunk_bytes,
        )
