"""The grid cells of all levels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Grid:
    """S cells on one axis: levels finest first, each a square grid in row-major order.

    Args:
        num_grids: cells along each side of each level's grid.
        strides: input pixels per pixel of the feature map that each level reads. The area filter of the
            post-processing uses them too.
        scale_ranges: (lower, upper) of sqrt(box area) in input pixels that each level is trained on, both inclusive.

    Attributes:
        num_levels: L.
        num_cells: S.
        level_sizes: number of cells of each level.

    Raises:
        ValueError: the three have different numbers of levels, or a range is empty.
    """

    def __init__(
        self,
        *,
        num_grids: Sequence[int],
        strides: Sequence[int],
        scale_ranges: Sequence[Sequence[float]],
    ) -> None:
        if not len(num_grids) == len(strides) == len(scale_ranges) > 0:
            raise ValueError(
                "num_grids, strides and scale_ranges must name the same levels, but have "
                f"{len(num_grids)}, {len(strides)} and {len(scale_ranges)} entries"
            )
        for lower, upper in scale_ranges:
            if lower > upper:
                raise ValueError(f"scale range ({lower}, {upper}) is empty")
        self.num_grids = tuple(num_grids)
        self.strides = tuple(strides)
        self.scale_ranges = tuple((float(lower), float(upper)) for lower, upper in scale_ranges)
        self.num_levels = len(self.num_grids)
        self.level_sizes = tuple(side**2 for side in self.num_grids)
        self.num_cells = sum(self.level_sizes)

    def flatten(self, levels: Sequence[Tensor]) -> Tensor:
        """Flatten L maps (B, channels, G, G), finest first, to one tensor (B, S, channels)."""
        return torch.cat([level.flatten(2) for level in levels], dim=2).transpose(1, 2)

    def unflatten(self, cells: Tensor) -> list[Tensor]:
        """Split (B, S, channels) into L maps (B, channels, G, G)."""
        levels = cells.transpose(1, 2).split(self.level_sizes, dim=2)
        return [level.unflatten(2, (side, side)) for level, side in zip(levels, self.num_grids, strict=True)]

    def cell_strides(self, device: torch.device | None = None) -> Tensor:
        """(S,) int64 stride of each cell's level."""
        levels = zip(self.level_sizes, self.strides, strict=True)
        return torch.cat([torch.full((size,), stride, device=device) for size, stride in levels])
