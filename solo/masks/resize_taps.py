"""The two interpolations from stride 4 to the original image as one with three taps an axis, in numpy."""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

MASK_STRIDE = 4
"""Input pixels per pixel of the mask features, along each axis."""

TAPS = 3

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


class ResizeTaps(NamedTuple):
    """Both interpolations of an axis: output i is the sum over t of `weights[t, i] * input[positions[t, i]]`."""

    positions: Integers  # (3, L)
    weights: Floats  # (3, L), not negative, with sum 1 over t
    firsts: list[int]  # `positions[0]`, ascending

    @classmethod
    def composed(cls, *, source: int, image: int, original: int) -> ResizeTaps:
        """Compose x4 from `source` pixels, cropped to `image`, and from there to `original`."""
        # The outer interpolation reads two neighbours of the enlarged map, and they read two of at most three pixels.
        near, far, share = _bilinear(image, original)
        starts, ends, shares = _bilinear(source, source * MASK_STRIDE)
        first = starts[near]
        weights = np.zeros((TAPS, original), np.float32)
        outputs = np.arange(original)
        for enlarged, weight in ((near, 1 - share), (far, share)):
            for position, part in ((starts, 1 - shares), (ends, shares)):
                weights[position[enlarged] - first, outputs] += weight * part[enlarged]
        positions = (first + np.arange(TAPS)[:, None]).clip(max=source - 1)
        return cls(positions, weights, first.tolist())

    def reach(self, start: int, stop: int) -> tuple[int, int]:
        """The range of output positions that may read an input position in [start, stop)."""
        return bisect_left(self.firsts, start - TAPS + 1), bisect_left(self.firsts, stop)


def _bilinear(source: int, target: int) -> tuple[Integers, Integers, Floats]:
    """The two neighbours (L,) that each target position reads, and the weight of the second."""
    # In float32 as torch computes it, so with the same rounding.
    scale = np.float32(source) / np.float32(target)
    coordinates = ((np.arange(target, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)).clip(min=0)
    near = coordinates.astype(np.int64).clip(max=source - 1)
    share = (coordinates - near.astype(np.float32)).clip(max=1)
    return near, (near + 1).clip(max=source - 1), share
