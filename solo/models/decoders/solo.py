"""Masks of SOLO and Decoupled SOLO, whose cells read maps of their own level."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from solo.masks.resize_taps import MASK_STRIDE
from solo.models.decoders.base import MaskDecoder
from solo.ops import dynamic_mask_loss, product_mask_loss
from solo.ops.mask_loss import MaskLoss
from solo.structures import DecoupledSOLOOutputs, GridTargets, SOLOOutputs


class LevelMaskDecoder(MaskDecoder):
    """A decoder whose cells read maps of their own level, at the level's stride.

    Args:
        level_sizes: cells of each level.
        mask_strides: input pixels per pixel of the masks of each level.
        finest_size: (height, width) of the finest level's masks.
    """

    def __init__(
        self, *, level_sizes: Sequence[int], mask_strides: Sequence[int], finest_size: tuple[int, int]
    ) -> None:
        self._first_cells = list(accumulate(level_sizes, initial=0))
        self._mask_strides = mask_strides
        height, width = (side * mask_strides[0] // MASK_STRIDE for side in finest_size)
        self.mask_size = (height, width)

    @abstractmethod
    def decode_level(self, level: int, image: int, cells: Tensor) -> Tensor:
        """(n, height, width) float32 mask probabilities at any size of cells (n,), counted within the level."""

    @abstractmethod
    def level_loss(
        self, level: int, targets: GridTargets, *, weights: Tensor, loss: MaskLoss, chunk_bytes: int
    ) -> Tensor:
        """As `mask_loss`, for the positives of one level: cells are counted within it, masks are at its stride."""

    def decode(self, image: int, cells: Tensor) -> Tensor:
        masks = torch.empty((len(cells), *self.mask_size), dtype=torch.float32, device=cells.device)
        # Sorted by cell they are sorted by level. The ends of the levels decide shapes: the CPU waits for them, once.
        order = cells.argsort()
        firsts = torch.tensor(self._first_cells, device=cells.device)
        ends = torch.searchsorted(cells[order], firsts).tolist()
        for level, (start, end) in enumerate(pairwise(ends)):
            if start < end:
                rows = order[start:end]
                decoded = self.decode_level(level, image, cells[rows] - self._first_cells[level])
                masks[rows] = _resize(decoded, self.mask_size)
        return masks

    def mask_loss(self, targets: GridTargets, *, weights: Tensor, loss: MaskLoss, chunk_bytes: int) -> Tensor:
        by_level = enumerate(self._split_by_level(targets, weights))
        losses = [
            self.level_loss(level, of_level, weights=level_weights, loss=loss, chunk_bytes=chunk_bytes)
            for level, (of_level, level_weights) in by_level
        ]
        return torch.stack(losses).sum()

    def _split_by_level(self, targets: GridTargets, weights: Tensor) -> Iterator[tuple[GridTargets, Tensor]]:
        """Targets and weights of each level. Counts are on the CPU, so that nothing waits for the device."""
        counts = [count for image in targets.positives_per_level for count in image]  # B * L
        runs = [slice(*ends) for ends in pairwise(accumulate(counts, initial=0))]
        num_levels = len(self._mask_strides)
        for level, stride in enumerate(self._mask_strides):
            image_idx, cell_idx, object_idx, level_weights = (
                torch.cat([values[run] for run in runs[level::num_levels]])
                for values in (targets.image_idx, targets.cell_idx, targets.object_idx, weights)
            )
            of_level = targets._replace(
                image_idx=image_idx,
                cell_idx=cell_idx - self._first_cells[level],
                object_idx=object_idx,
                positives_per_image=counts[level::num_levels],
                masks=targets.masks if stride == MASK_STRIDE else targets.coarse_masks[stride],
            )
            yield of_level, level_weights


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
            _resize(logits[level][image, idx].float().sigmoid_(), self.mask_size)  # (n, h, w)
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


def _resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize maps (n, height, width) to a size, bilinearly."""
    return maps if maps.shape[-2:] == size else F.interpolate(maps[None], size, mode="bilinear")[0]


def _double(logits: Tensor) -> Tensor:
    """(n, height, width) to twice the size."""
    return F.interpolate(logits[None], scale_factor=2, mode="bilinear")[0]
