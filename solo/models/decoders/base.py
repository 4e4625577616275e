"""Base classes of the mask decoders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from solo.masks.bitmaps import MASK_STRIDE
from solo.ops.mask_loss import MaskLoss
from solo.structures import GridTargets


class MaskDecoder(ABC):
    """Computes the masks of grid cells of a batch, for the cells that are asked for, never for all.

    Args:
        outputs: the network's outputs.

    Attributes:
        mask_size: (h, w) of the masks that `decode` returns, at stride 4.
    """

    mask_size: tuple[int, int]

    @abstractmethod
    def __init__(self, outputs: Any) -> None: ...

    @abstractmethod
    def decode(self, image: int, cells: Tensor) -> Tensor:
        """Compute masks for inference.

        Args:
            image: index in the batch.
            cells: (n,) int64 in [0, S).

        Returns:
            (n, h, w) float32 mask probabilities.
        """

    @abstractmethod
    def mask_loss(self, targets: GridTargets, *, weights: Tensor, loss: MaskLoss, chunk_bytes: int) -> Tensor:
        """Weighted sum of the losses of the positives' masks.

        Args:
            targets: the targets.
            weights: (P,) float32 factor of each positive's loss.
            loss: from (p, height, width) float32 logits and bool masks to (p,) float32 losses.
            chunk_bytes: size of the float32 logits of the masks that are computed at once.

        Returns:
            () float32. Without a positive it is 0 and all its gradients are zeros.
        """


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
                masks[rows] = resize_maps(decoded, self.mask_size)
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


def resize_maps(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize maps (n, height, width) to a size, bilinearly."""
    return maps if maps.shape[-2:] == size else F.interpolate(maps[None], size, mode="bilinear")[0]
