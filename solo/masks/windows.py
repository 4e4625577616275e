"""Windows: the rectangle of a map that a mask occupies. Objects cover a few percent of a map; the rest is skipped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

DEVICE_CHUNK_PIXELS = 2**25
"""Pixels per chunk on a GPU, where masks are processed in groups: a launch costs more than some background pixels."""

CPU_CHUNK_PIXELS = 2**15
"""Pixels per chunk on a CPU.

Buffers of this size stay in its cache, and torch does not split them over threads, which costs more than it gains for
masks, and much more when other processes, such as data loader workers, use the cores too.
"""


class Window(NamedTuple):
    """A rectangle of a map, in its pixels; `bottom` and `right` are exclusive."""

    top: int
    bottom: int
    left: int
    right: int


def mask_extents(masks: Tensor) -> Tensor:
    """Compute the tightest windows around binary masks (D, H, W) bool.

    Returns:
        (D, 4) int64, top bottom left right in pixels; bottom and right are exclusive. Zeros if empty.
    """
    # In torch the maximum of bytes is an order of magnitude faster than `any` of booleans.
    pixels = masks.view(torch.uint8)
    if pixels.numel() == 0:
        return torch.zeros(len(masks), 4, dtype=torch.int64, device=masks.device)
    sides = [*_set_extent(pixels.amax(dim=2).view(torch.bool)), *_set_extent(pixels.amax(dim=1).view(torch.bool))]
    return torch.stack(sides, dim=1)


def window_groups(masks: Tensor, *, pixels_per_mask: int) -> Iterator[tuple[range, Window]]:
    """Yield ranges of masks to process together, and the window that contains theirs; empty ranges are skipped.

    The windows are copied to the CPU in one transfer.

    Args:
        masks: (D, H, W) bool.
        pixels_per_mask: pixels of a mask in the map that is processed.
    """
    extents = mask_extents(masks).tolist()
    size = masks_per_group(pixels_per_mask, masks.device)
    for start in range(0, len(extents), size):
        occupied = [extent for extent in extents[start : start + size] if extent[1] > extent[0]]
        if occupied:
            tops, bottoms, lefts, rights = zip(*occupied, strict=True)
            window = Window(min(tops), max(bottoms), min(lefts), max(rights))
            yield range(start, min(start + size, len(extents))), window


def masks_per_group(pixels_per_mask: int, device: torch.device) -> int:
    """How many masks are processed together: one on a CPU, in its own window; as many as fit a chunk elsewhere."""
    return 1 if device.type == "cpu" else max(1, DEVICE_CHUNK_PIXELS // max(1, pixels_per_mask))


def chunk_pixels(device: torch.device) -> int:
    """How many pixels are processed at once."""
    return CPU_CHUNK_PIXELS if device.type == "cpu" else DEVICE_CHUNK_PIXELS


def _set_extent(is_set: Tensor) -> tuple[Tensor, Tensor]:
    """First set position and last set position + 1 along the last axis of (D, L) bool: two (D,), 0 where none is."""
    length = is_set.shape[1]
    positions = torch.arange(length, device=is_set.device)
    last = torch.where(is_set, positions + 1, 0).amax(dim=1)
    first = torch.where(is_set, positions, length).amin(dim=1)
    return torch.minimum(first, last), last
