"""Mask probabilities at stride 4 to binary masks of the original picture."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from solo.ops.masks import MASK_STRIDE
from solo.ops.windows import Window, pixels_at_once, window_groups

TAPS = 3


class ResizedPart(NamedTuple):
    """Pixels of some masks of a picture. What no part holds is background; parts come by mask, then by position.

    Attributes:
        masks: which masks.
        top: first row, pixels of the picture.
        left: first column, pixels of the picture.
        pixels: (number of masks, height, width) bool.
    """

    masks: range
    top: int
    left: int
    pixels: Tensor


def resize_masks(
    probabilities: Tensor, *, image_size: tuple[int, int], original_size: tuple[int, int], threshold: float
) -> Tensor:
    """Bring mask probabilities at stride 4 to the original picture and binarise them there.

    Bilinear x4 to the padded input, the padding cut off, bilinear to the original size, `> threshold`, as the peers
    do with two interpolations of whole maps. Here both are one operator of three taps an axis, applied where the mask
    is. A pixel that the two interpolations put within 1e-4 of the threshold may be rounded to its other side.

    Args:
        probabilities: (D, h, w) float.
        image_size: (height, width) of the network input without its padding, pixels.
        original_size: (height, width) of the picture, pixels.
        threshold: a pixel belongs to the mask if its probability is larger.

    Returns:
        (D, *original_size) bool.
    """
    masks = torch.zeros((len(probabilities), *original_size), dtype=torch.bool, device=probabilities.device)
    sizes = dict(image_size=image_size, original_size=original_size)
    for part in resized_parts(probabilities, **sizes, threshold=threshold, column_major=False):
        _, height, width = part.pixels.shape
        members = slice(part.masks.start, part.masks.stop)
        masks[members, part.top : part.top + height, part.left : part.left + width] = part.pixels
    return masks


def resized_parts(
    probabilities: Tensor,
    *,
    image_size: tuple[int, int],
    original_size: tuple[int, int],
    threshold: float,
    column_major: bool,
) -> Iterator[ResizedPart]:
    """The pixels of `resize_masks` part by part, so that no full-size map is ever made.

    Args:
        probabilities: (D, h, w) float.
        image_size: (height, width) of the network input without its padding, pixels.
        original_size: (height, width) of the picture, pixels.
        threshold: a pixel belongs to the mask if its probability is larger.
        column_major: cut the parts, and lay their pixels out in memory, by columns; else by rows.
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
            mask = pixels > threshold
            if column_major:
                yield ResizedPart(members, start, first, mask.transpose(1, 2))
            else:
                yield ResizedPart(members, first, start, mask)


class _Axis(NamedTuple):
    """Both interpolations along one axis: output i is the sum over t of `weights[t, i] * input[positions[t, i]]`.

    Attributes:
        positions: (3, L) int64.
        weights: (3, L) float32, not negative, with the sum 1.
        firsts: `positions[0]` on the host, ascending.
    """

    positions: Tensor
    weights: Tensor
    firsts: list[int]

    @classmethod
    def composed(cls, *, source: int, image: int, original: int, device: torch.device) -> _Axis:
        """x4 from `source`, cut to `image`, then to `original`."""
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
        return cls(positions.to(device, non_blocking=True), weights.to(device, non_blocking=True), first.tolist())

    def reach(self, start: int, stop: int) -> tuple[int, int]:
        """The output positions, from and to, that may read an input position in [start, stop)."""
        return bisect_left(self.firsts, start - TAPS + 1), bisect_left(self.firsts, stop)

    def apply(self, maps: Tensor, start: int, stop: int, *, offset: int) -> Tensor:
        """Output positions [start, stop) along axis 1 of (g, n, m) maps, whose first input position is `offset`."""
        result: Tensor | None = None
        for positions, weights in zip(self.positions[:, start:stop] - offset, self.weights[:, start:stop], strict=True):
            tap, weight = maps.index_select(1, positions), weights[:, None]
            result = tap.mul_(weight) if result is None else result.addcmul_(tap, weight)
        assert result is not None
        return result


def _bilinear(source: int, target: int) -> tuple[Tensor, Tensor, Tensor]:
    """The two neighbours (L,) int64 that each target position reads, and the weight of the second, as torch does."""
    # In float32 as torch does it, hence with its rounding.
    places = ((torch.arange(target) + 0.5) * (torch.tensor(float(source)) / target) - 0.5).clamp(min=0)
    near = places.long().clamp(max=source - 1)
    return near, (near + 1).clamp(max=source - 1), (places - near).clamp(max=1)


def _bands(
    maps: Tensor, *, inner: _Axis, span: tuple[int, int], outer: _Axis, window: Window
) -> Iterator[tuple[int, Tensor]]:
    """Resize (g, inner, outer) maps, inner positions in `span`, and all outer ones that the window reaches.

    Yields:
        First outer position of a band, and its (g, outer positions, inner positions) float32.
    """
    start, stop = outer.reach(window.left, window.right)
    if span[0] >= span[1] or start >= stop:
        return
    low, high = outer.firsts[start], outer.firsts[stop - 1] + TAPS
    cropped = maps[:, inner.firsts[span[0]] : inner.firsts[span[1] - 1] + TAPS, low:high].float()
    lines = inner.apply(cropped, *span, offset=inner.firsts[span[0]]).transpose(1, 2).contiguous()
    step = max(1, pixels_at_once(maps.device) // (len(maps) * (span[1] - span[0])))
    for first in range(start, stop, step):
        yield first, outer.apply(lines, first, min(first + step, stop), offset=low)
