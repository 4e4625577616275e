"""Mask probabilities at stride 4 to binary masks at the size of the original image."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from solo.masks.bitmaps import MASK_STRIDE
from solo.masks.windows import Window, chunk_pixels, window_groups

TAPS = 3


class ResizedPart(NamedTuple):
    """A window of some masks of an image. Pixels in no part are background; parts come by mask, then by position."""

    masks: range
    top: int  # first row, pixels of the image
    left: int  # first column
    pixels: Tensor  # (number of masks, height, width) float32 probabilities


def resize_masks(
    probabilities: Tensor, *, image_size: tuple[int, int], original_size: tuple[int, int], threshold: float
) -> Tensor:
    """Resize mask probabilities at stride 4 to the original image and binarise them.

    Bilinear x4 to the padded input, crop of the padding, bilinear to the original size, `> threshold`: the reference
    implementations interpolate whole maps twice. Here both interpolations are composed to one with three taps an axis,
    applied where the mask is. A pixel within 1e-4 of the threshold may be rounded to the other side.

    Args:
        probabilities: (D, h, w) float.
        image_size: (height, width) of the network input without its padding, pixels.
        original_size: (height, width) of the image, pixels.
        threshold: a pixel belongs to the mask if its probability is larger.

    Returns:
        (D, *original_size) bool.
    """
    masks = torch.zeros((len(probabilities), *original_size), dtype=torch.bool, device=probabilities.device)
    sizes = dict(image_size=image_size, original_size=original_size)
    for part in resized_parts(probabilities, **sizes, threshold=threshold, column_major=False):
        _, height, width = part.pixels.shape
        members = slice(part.masks.start, part.masks.stop)
        window = masks[members, part.top : part.top + height, part.left : part.left + width]
        torch.gt(part.pixels, threshold, out=window)
    return masks


def resized_parts(
    probabilities: Tensor,
    *,
    image_size: tuple[int, int],
    original_size: tuple[int, int],
    threshold: float,
    column_major: bool,
) -> Iterator[ResizedPart]:
    """Yield the probabilities that `resize_masks` compares, part by part, without making a full-size map.

    Takes the arguments of `resize_masks`; outside the parts no probability is larger than `threshold`. With
    `column_major`, parts are cut, and their pixels laid out in memory, by columns; else by rows.
    """
    device = probabilities.device
    rows, columns = (
        _Axis.composed(source=source, image=image, original=original, device=device)
        for source, image, original in zip(probabilities.shape[-2:], image_size, original_size, strict=True)
    )
    inner, outer = (rows, columns) if column_major else (columns, rows)
    groups = window_groups(probabilities > threshold, pixels_per_mask=original_size[0] * original_size[1])
    for members, window in groups:
        maps = probabilities[members.start : members.stop]
        if not column_major:
            maps, window = maps.transpose(1, 2), Window(window.left, window.right, window.top, window.bottom)
        start, stop = inner.reach(window.top, window.bottom)
        for first, pixels in _bands(maps, inner=inner, span=(start, stop), outer=outer, window=window):
            if column_major:
                yield ResizedPart(members, start, first, pixels.transpose(1, 2))
            else:
                yield ResizedPart(members, first, start, pixels)


class _Axis(NamedTuple):
    """Both interpolations of an axis: output i is the sum over t of `weights[t, i] * input[positions[t, i]]`."""

    positions: Tensor  # (3, L) int64
    weights: Tensor  # (3, L, 1) float32, not negative, with sum 1 over t
    firsts: list[int]  # `positions[0]` on the CPU, ascending

    @classmethod
    def composed(cls, *, source: int, image: int, original: int, device: torch.device) -> _Axis:
        """Compose x4 from `source`, cropped to `image`, and from there to `original`."""
        # The outer interpolation reads two neighbours of the enlarged map, and they read two of at most three pixels.
        near, far, share = _bilinear(image, original)
        starts, ends, shares = _bilinear(source, source * MASK_STRIDE)
        first = starts[near]
        weights = torch.zeros(TAPS, original)
        for enlarged, weight in ((near, 1 - share), (far, share)):
            for position, part in ((starts, 1 - shares), (ends, shares)):
                offset = position[enlarged] - first
                weights.scatter_add_(0, offset[None], (weight * part[enlarged])[None])
        positions = (first + torch.arange(TAPS)[:, None]).clamp(max=source - 1)
        weights = weights[..., None]
        return cls(positions.to(device, non_blocking=True), weights.to(device, non_blocking=True), first.tolist())

    def reach(self, start: int, stop: int) -> tuple[int, int]:
        """The range of output positions that may read an input position in [start, stop)."""
        return bisect_left(self.firsts, start - TAPS + 1), bisect_left(self.firsts, stop)


def _interpolate(maps: Tensor, positions: Tensor, weights: Tensor) -> Tensor:
    """Interpolate maps (g, n, m) along axis 1 with positions (3, l) and weights (3, l, 1): (g, l, m)."""
    result = maps.index_select(1, positions[0]).mul_(weights[0])
    for tap in range(1, TAPS):
        result.addcmul_(maps.index_select(1, positions[tap]), weights[tap])
    return result


def _bilinear(source: int, target: int) -> tuple[Tensor, Tensor, Tensor]:
    """The two neighbours (L,) int64 that each target position reads, and the weight of the second."""
    # In float32 as torch computes it, so with the same rounding.
    coordinates = ((torch.arange(target) + 0.5) * (torch.tensor(float(source)) / target) - 0.5).clamp(min=0)
    near = coordinates.long().clamp(max=source - 1)
    return near, (near + 1).clamp(max=source - 1), (coordinates - near).clamp(max=1)


def _bands(
    maps: Tensor, *, inner: _Axis, span: tuple[int, int], outer: _Axis, window: Window
) -> Iterator[tuple[int, Tensor]]:
    """Resize (g, inner, outer) maps: the inner positions in `span`, and all outer positions that the window reaches.

    Yields the first outer position of each band, and its (g, outer positions, inner positions) float32.
    """
    start, stop = outer.reach(window.left, window.right)
    if span[0] >= span[1] or start >= stop:
        return
    low, high = outer.firsts[start], outer.firsts[stop - 1] + TAPS
    inner_low, inner_high = inner.firsts[span[0]], inner.firsts[span[1] - 1] + TAPS
    # Interpolate along lines that are contiguous in memory: many times faster than along strided pixels.
    cropped = maps[:, inner_low:inner_high, low:high].float().contiguous()
    inner_taps = inner.positions[:, slice(*span)] - inner_low, inner.weights[:, slice(*span)]
    lines = _interpolate(cropped, *inner_taps).transpose(1, 2).contiguous()
    step = max(1, chunk_pixels(maps.device) // (len(maps) * (span[1] - span[0])))
    outer_taps = outer.positions[:, start:stop] - low, outer.weights[:, start:stop]
    for first, taps in enumerate(zip(*(field.split(step, dim=1) for field in outer_taps), strict=True)):
        yield start + first * step, _interpolate(lines, *taps)
