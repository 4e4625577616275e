"""What a COCO `segmentation` may be: polygons, or run-length encoding, compressed or not."""

from __future__ import annotations

import math
from typing import Any

from pycocotools import mask as coco_mask

SHORT_POLYGON = "polygon of less than 3 points or of an odd number of coordinates"
OTHER_SIZE = "RLE of another size than the image"
MALFORMED = "segmentation is neither polygons nor RLE"


class SegmentationError(ValueError):
    """A segmentation cannot be used; `kind` says why."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


def usable_segmentation(segmentation: Any, *, height: int, width: int) -> list[list[float]] | dict[str, Any]:
    """The segmentation as transforms can rasterise it: polygons too short to enclose anything are left out.

    Args:
        segmentation: As in the file.
        height: Height of the image in pixels.
        width: Width of the image in pixels.

    Raises:
        SegmentationError: Nothing of it can be used.
    """
    if isinstance(segmentation, dict):
        return _usable_rle(segmentation, height=height, width=width)
    if not isinstance(segmentation, list):
        raise SegmentationError(MALFORMED)
    if segmentation and all(isinstance(value, (int, float)) for value in segmentation):
        segmentation = [segmentation]  # one polygon that is not in a list of polygons
    if not all(isinstance(polygon, list) and all(map(_is_number, polygon)) for polygon in segmentation):
        raise SegmentationError(MALFORMED)
    polygons = [polygon for polygon in segmentation if len(polygon) >= 6 and len(polygon) % 2 == 0]
    if not polygons:
        raise SegmentationError(SHORT_POLYGON)
    return polygons


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _usable_rle(rle: dict[str, Any], *, height: int, width: int) -> dict[str, Any]:
    size, counts = rle.get("size"), rle.get("counts")
    if not isinstance(size, list) or not isinstance(counts, (list, str)):
        raise SegmentationError(MALFORMED)
    if size != [height, width]:
        raise SegmentationError(OTHER_SIZE)
    runs = _decode_counts(counts) if isinstance(counts, str) else counts
    if not all(isinstance(run, int) and run >= 0 for run in runs):
        raise SegmentationError(MALFORMED)
    if sum(runs) != height * width:
        raise SegmentationError(OTHER_SIZE)
    return rle


def _decode_counts(counts: str) -> list[int]:
    """Run lengths of a compressed RLE: signed base-32 numbers, from the third on relative to the one two before.

    pycocotools decodes them without a look at the size of the mask; `rleFrString` of its `maskApi.c` is the source.
    """
    runs: list[int] = []
    value, shift = 0, 0
    for character in counts:
        digit = ord(character) - 48
        if not 0 <= digit < 64:
            raise SegmentationError(MALFORMED)
        value |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        if digit & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value, shift = 0, 0
    if shift:
        raise SegmentationError(MALFORMED)
    return runs


def to_compressed_rle(segmentation: list[list[float]] | dict[str, Any], *, height: int, width: int) -> dict[str, Any]:
    """One compressed RLE of a usable segmentation."""
    if isinstance(segmentation, dict) and isinstance(segmentation["counts"], str):
        return segmentation
    encoded = coco_mask.frPyObjects(segmentation, height, width)
    return coco_mask.merge(encoded) if isinstance(encoded, list) else encoded


def box_of_segmentation(segmentation: list[list[float]] | dict[str, Any], *, height: int, width: int) -> list[float]:
    """Tightest box (x, y, width, height) around a usable segmentation, in pixels."""
    return coco_mask.toBbox(to_compressed_rle(segmentation, height=height, width=width)).tolist()
