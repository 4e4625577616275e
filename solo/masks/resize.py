"""Mask probabilities at stride 4 to binary masks at the size of the original image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from solo.masks.resize_taps import TAPS, ResizeTaps
from solo.masks.windows import Window, chunk_pixels, window_groups


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
        start, stop = inner.taps.reach(window.top, window.bottom)
        for first, pixels in _bands(maps, inner=inner, span=(start, stop), outer=outer, window=window):
            if column_major:
                yield ResizedPart(members, start, first, pixels.transpose(1, 2))
            else:
                yield ResizedPart(members, first, start, pixels)


class _Axis(NamedTuple):
    """`ResizeTaps` on the device."""

    positions: Tensor  # (3, L) int64
    weights: Tensor  # (3, L, 1) float32
    taps: ResizeTaps

    @classmethod
    def composed(cls, *, source: int, image: int, original: int, device: torch.device) -> _Axis:
        """Arguments as for `ResizeTaps.composed`."""
        taps = ResizeTaps.composed(source=source, image=image, original=original)
        positions, weights = torch.from_numpy(taps.positions), torch.from_numpy(taps.weights[..., None])
        return cls(positions.to(device, non_blocking=True), weights.to(device, non_blocking=True), taps)


def _interpolate(maps: Tensor, positions: Tensor, weights: Tensor) -> Tensor:
    """Interpolate maps (g, n, m) along axis 1 with positions (3, l) and weights (3, l, 1): (g, l, m)."""
    result = maps.index_select(1, positions[0]).mul_(weights[0])
    for tap in range(1, TAPS):
        result.addcmul_(maps.index_select(1, positions[tap]), weights[tap])
    return result


def _bands(
    maps: Tensor, *, inner: _Axis, span: tuple[int, int], outer: _Axis, window: Window
) -> Iterator[tuple[int, Tensor]]:
    """Resize (g, inner, outer) maps: the inner positions in `span`, and all outer positions that the window reaches.

    Yields the first outer position of each band, and its (g, outer positions, inner positions) float32.
    """
    start, stop = outer.taps.reach(window.left, window.right)
    if span[0] >= span[1] or start >= stop:
        return
    low, high = outer.taps.firsts[start], outer.taps.firsts[stop - 1] + TAPS
    inner_low, inner_high = inner.taps.firsts[span[0]], inner.taps.firsts[span[1] - 1] + TAPS
    # Interpolate along lines that are contiguous in memory: many times faster than along strided pixels.
    cropped = maps[:, inner_low:inner_high, low:high].float().contiguous()
    inner_taps = inner.positions[:, slice(*span)] - inner_low, inner.weights[:, slice(*span)]
    lines = _interpolate(cropped, *inner_taps).transpose(1, 2).contiguous()
    step = max(1, chunk_pixels(maps.device) // (len(maps) * (span[1] - span[0])))
    outer_taps = outer.positions[:, start:stop] - low, outer.weights[:, start:stop]
    for first, taps in enumerate(zip(*(field.split(step, dim=1) for field in outer_taps), strict=True)):
        yield start + first * step, _interpolate(lines, *taps)
