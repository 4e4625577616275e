"""Windows: the part of a map that a mask occupies. Objects cover a few percent of it, so work is done there alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

GROUP_PIXELS = 2**25
"""Most pixels that the masks of one group have together, on devices where masks are worked on in groups."""


BAND_PIXELS = 2**15
"""Most pixels that a CPU works on at once.

Buffers of that size stay in its cache, and torch does not share such work out between threads: for masks that costs
more than it gains, and a multiple of the whole where other processes, as those of a data loader, want the cores too.
"""


class Window(NamedTuple):
    """A rectangle of a map, in its pixels; `bottom` and `right` are exclusive."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def is_empty(self) -> bool:
        """Whether it has no pixel."""
        return self.top >= self.bottom or self.left >= self.right

    @property
    def rows(self) -> slice:
        """Index along the height."""
        return slice(self.top, self.bottom)

    @property
    def columns(self) -> slice:
        """Index along the width."""
        return slice(self.left, self.right)

    def union(self, other: Window) -> Window:
        """The smallest window that holds both; an empty one adds nothing."""
        if self.is_empty or other.is_empty:
            return other if self.is_empty else self
        return Window(
            min(self.top, other.top),
            max(self.bottom, other.bottom),
            min(self.left, other.left),
            max(self.right, other.right),
        )


def mask_extents(masks: Tensor) -> Tensor:
    """Tightest windows around binary masks.

    Args:
        masks: (D, H, W) bool.

    Returns:
        (D, 4) int64, top bottom left right in pixels; bottom and right are exclusive. Zeros if empty.
    """
    # Maxima of bytes are an order of magnitude faster in torch than `any` of booleans.
    pixels = masks.view(torch.uint8)
    if pixels.numel() == 0:
        return torch.zeros(len(masks), 4, dtype=torch.int64, device=masks.device)
    sides = [*set_extent(pixels.amax(dim=2).view(torch.bool)), *set_extent(pixels.amax(dim=1).view(torch.bool))]
    return torch.stack(sides, dim=1)


def window_groups(masks: Tensor, *, pixels_per_mask: int) -> Iterator[tuple[range, Window]]:
    """Runs of masks that are worked on at once, and a window that holds all of theirs; masks without a pixel go.

    The windows reach the host in one transfer.

    Args:
        masks: (D, H, W) bool.
        pixels_per_mask: pixels of a mask in the map that is worked on.
    """
    windows = [Window(*sides) for sides in mask_extents(masks).tolist()]
    size = masks_per_group(pixels_per_mask, masks.device)
    for start in range(0, len(windows), size):
        members = range(start, min(start + size, len(windows)))
        common = windows[start]
        for index in members[1:]:
            common = common.union(windows[index])
        if not common.is_empty:
            yield members, common


def masks_per_group(pixels_per_mask: int, device: torch.device) -> int:
    """How many masks are worked on at once.

    A CPU takes each mask in a window of its own. Elsewhere a launch costs more than the pixels of a wider window.
    """
    return 1 if device.type == "cpu" else max(1, GROUP_PIXELS // max(1, pixels_per_mask))


def pixels_at_once(device: torch.device) -> int:
    """How many pixels of the masks of a group are worked on at once."""
    return BAND_PIXELS if device.type == "cpu" else GROUP_PIXELS


def set_extent(is_set: Tensor) -> tuple[Tensor, Tensor]:
    """First set position and last set position + 1 along the last axis of (D, L) bool: two (D,), 0 where none is."""
    length = is_set.shape[1]
    positions = torch.arange(length, device=is_set.device)
    last = torch.where(is_set, positions + 1, 0).amax(dim=1)
    first = torch.where(is_set, positions, length).amin(dim=1)
    return torch.minimum(first, last), last
