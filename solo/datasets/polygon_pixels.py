"""Which polygons may cover no pixel at all, found for very many at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from solo.datasets.segmentations import to_compressed_rle

_CHUNK = 20_000


def without_pixels(segmentations: Sequence[Sequence[Sequence[float]]], sizes: npt.NDArray[np.int64]) -> list[int]:
    """Positions of the objects whose polygons cover no pixel: too thin, or outside the image.

    Rasterising all would take minutes, so that is done only where it is in doubt. A convex region of area A and
    perimeter P holds more than A - P / 2 points of a grid (Nosarzewska 1948), and P / 2 is at most the sum of its two
    extents: inside the image, what has more area than that has a pixel.

    Args:
        segmentations: the polygons of each object, checked, each [x, y, x, y, ...] in pixels of its image.
        sizes: (N, 2) height and width of each object's image.
    """
    found = []
    for start in range(0, len(segmentations), _CHUNK):
        chunk, of_chunk = segmentations[start : start + _CHUNK], sizes[start : start + _CHUNK]
        for position in np.flatnonzero(_are_in_doubt(chunk, of_chunk)).tolist():
            height, width = map(int, of_chunk[position])
            polygons = [list(polygon) for polygon in chunk[position]]
            if not _has_pixel(polygons, height=height, width=width):
                found.append(start + position)
    return found


def _has_pixel(polygons: list[list[float]], *, height: int, width: int) -> bool:
    return bool(coco_mask.area(to_compressed_rle(polygons, height=height, width=width)))


def _are_in_doubt(
    segmentations: Sequence[Sequence[Sequence[float]]], sizes: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """(N,) whether each polygon of the object is thin or reaches over the border of the image."""
    polygons = list(chain.from_iterable(segmentations))
    points = np.fromiter(map(len, polygons), np.int64, len(polygons)) // 2
    ends = points.cumsum()
    starts = ends - points
    flat = np.fromiter(chain.from_iterable(polygons), np.float64, 2 * int(ends[-1]))
    x, y = np.ascontiguousarray(flat[0::2]), np.ascontiguousarray(flat[1::2])
    owner = np.repeat(np.arange(len(segmentations)), [len(polygons) for polygons in segmentations])
    is_inside = np.ones(len(polygons), np.bool_)
    half_perimeter = np.zeros(len(polygons))
    for values, limit in ((x, sizes[owner, 1]), (y, sizes[owner, 0])):
        lowest, highest = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
        is_inside &= (lowest >= -1) & (highest <= limit + 1) & (lowest <= limit - 1) & (highest >= 1)
        half_perimeter += highest - lowest
    # The last point of a polygon is followed by its first.
    crosses = np.empty(len(x))
    crosses[:-1] = x[:-1] * y[1:] - x[1:] * y[:-1]
    crosses[ends - 1] = x[ends - 1] * y[starts] - x[starts] * y[ends - 1]
    area = np.abs(np.add.reduceat(crosses, starts)) / 2
    is_certain = is_inside & (area > half_perimeter)
    return np.bincount(owner, weights=is_certain, minlength=len(segmentations)) == 0
