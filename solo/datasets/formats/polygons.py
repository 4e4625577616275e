"""Masks as polygons that hold holes and parts: what lies apart is joined by lines there and back.

Filled by the even-odd rule, as `solo.masks.polygon_runs`, pycocotools and OpenCV fill polygons, such a line encloses
nothing, and a hole that the polygon runs around stays empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from solo.datasets.formats.records import ObjectRecord, Polygons, to_rles
from solo.masks.outlines import Ring, trace_rings
from solo.masks.rle import RLE, decode_masks, decode_windows

Points = npt.NDArray[np.float64]


def polygons_from_rle(rle: RLE) -> Polygons:
    """One polygon along pixel edges for each connected part of a mask, around its holes; filled, they are the mask."""
    height, width = rle["size"]
    ((left, window),) = decode_windows([rle], size=(height, width))
    parts: dict[int, list[Ring]] = {}
    _, labels = cv2.connectedComponents(window.astype(np.uint8), connectivity=4)
    for ring in trace_rings(window):
        parts.setdefault(_label_of(ring, labels), []).append(ring)
    joined = []
    for rings in parts.values():
        outer_first = sorted(rings, key=lambda ring: ring.is_hole)
        joined.append(join_polygons([ring.points + np.array([left, 0.0]) for ring in outer_first]).ravel().tolist())
    return joined


def _label_of(ring: Ring, labels: npt.NDArray[Any]) -> int:
    """The label of the pixels that a ring runs along, which lie to its right."""
    (x, y), (next_x, _) = ring.points[:2].tolist()  # a horizontal side
    return int(labels[y, x] if next_x > x else labels[y - 1, x - 1])


def join_polygons(polygons: Sequence[Points]) -> Points:
    """Join polygons (P, 2) into one: from the point that is nearest to the next one's first point there and back."""
    joined = polygons[0]
    for polygon in polygons[1:]:
        nearest = int(((joined - polygon[0]) ** 2).sum(axis=1).argmin())
        joined = np.concatenate([joined[: nearest + 1], polygon, polygon[:1], joined[nearest:]])
    return joined


def join_parts(polygons: Polygons) -> list[float]:
    """The polygons of an object as one."""
    return join_polygons([np.array(polygon).reshape(-1, 2) for polygon in polygons]).ravel().tolist()


def compare(before: Sequence[ObjectRecord], after: Sequence[ObjectRecord], *, height: int, width: int) -> list[float]:
    """IoU of each object's pixels before and after a conversion; 1 for equal ones."""
    first, second = (to_rles(objects, height=height, width=width) for objects in (before, after))
    return [_iou(one, other) for one, other in zip(first, second, strict=True)]


def _iou(one: RLE, other: RLE) -> float:
    if one == other:
        return 1.0
    masks = decode_masks([one, other], size=(one["size"][0], one["size"][1]))
    union = int((masks[0] | masks[1]).sum())
    return int((masks[0] & masks[1]).sum()) / union if union else 1.0
