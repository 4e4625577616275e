"""Which objects' polygons cover no pixel at all, found for very many at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from solo.datasets.coco.polygon_table import CheckedPolygons, unpack_polygons
from solo.masks.segmentations import to_compressed_rle


def without_pixels(
    polygons: CheckedPolygons, objects: Sequence[Sequence[int]], sizes: npt.NDArray[np.int64]
) -> list[int]:
    """Which of the objects cover no pixel: they are too thin, or outside the image.

    Rasterising all would take minutes, so that is done only where it is in doubt. A convex region of area A and
    perimeter P holds more than A - P / 2 points of a grid (Nosarzewska 1948), and P / 2 is at most the sum of its two
    extents: inside the image, what has more area than that has a pixel.

    Args:
        polygons: those of all objects, in pixels of their images.
        objects: positions of each object's polygons, usable ones.
        sizes: (N, 2) height and width of each object's image.

    Returns:
        Indices into `objects`.
    """
    return [
        index
        for index in np.flatnonzero(_are_in_doubt(polygons, objects, sizes)).tolist()
        if not _has_pixel(unpack_polygons(polygons.packed(objects[index])), *map(int, sizes[index]))
    ]


def _has_pixel(polygons: list[list[float]], height: int, width: int) -> bool:
    return bool(coco_mask.area(to_compressed_rle(polygons, height=height, width=width)))


def _are_in_doubt(
    polygons: CheckedPolygons, objects: Sequence[Sequence[int]], sizes: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """(N,) whether each polygon of the object is thin or reaches over the border of the image."""
    owner = np.repeat(np.arange(len(objects)), np.fromiter(map(len, objects), np.int64, len(objects)))
    positions = np.fromiter(chain.from_iterable(objects), np.int64, len(owner))
    lowest, highest, limit = polygons.lowest[positions], polygons.highest[positions], sizes[owner, ::-1]
    is_inside = (lowest >= -1) & (highest <= limit + 1) & (lowest <= limit - 1) & (highest >= 1)
    half_perimeter = (highest - lowest).sum(axis=1)
    is_certain = is_inside.all(axis=1) & (polygons.areas[positions] > half_perimeter)
    return np.bincount(owner, weights=is_certain, minlength=len(objects)) == 0
