"""What a COCO `segmentation` may be: polygons, or run-length encoding, compressed or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from pycocotools import mask as coco_mask

from solo.masks.column_runs import ColumnRuns, merge_runs
from solo.masks.polygon_runs import runs_of_polygons
from solo.masks.rle_counts import decode_counts, pair_counts, runs_of_counts

Segmentation: TypeAlias = "list[Any] | dict[str, Any]"
"""Polygons [[x, y, x, y, ...], ...] in pixels, or an RLE `dict(size=[height, width], counts=text or numbers)`."""

SHORT_POLYGON = "polygon of less than 3 points or of an odd number of coordinates"
OTHER_SIZE = "RLE of another size than the image"
MALFORMED = "segmentation is neither polygons nor RLE"
# Rasterising goes along the border pixel by pixel: one slip of a digit would take minutes and gigabytes.
FARTHEST_POINT = 100_000
FAR_POLYGON = f"polygon with a point more than {FARTHEST_POINT:,} pixels away"
EMPTY = "segmentation without a pixel in the image"

_POLYGONS, _TEXT, _NUMBERS = "polygons", "text", "numbers"


class SegmentationError(ValueError):
    """A segmentation cannot be used; `kind` says why."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


def check_rle(rle: Any, *, height: int, width: int) -> None:
    """Check that transforms can decode it.

    Args:
        rle: As in the file.
        height: Height of the image in pixels.
        width: Width of the image in pixels.

    Raises:
        SegmentationError: It is no RLE, of another size, or without a pixel.
    """
    if not isinstance(rle, dict):
        raise SegmentationError(MALFORMED)
    size, counts = rle.get("size"), rle.get("counts")
    if not isinstance(size, list) or not isinstance(counts, (list, str)):
        raise SegmentationError(MALFORMED)
    if isinstance(counts, list):
        if not all(type(run) is int and run >= 0 for run in counts):
            raise SegmentationError(MALFORMED)
        if sum(counts) != height * width:
            raise SegmentationError(OTHER_SIZE)
    if not len(runs_of_segmentations([rle], height=height, width=width).mask):
        raise SegmentationError(EMPTY)


def runs_of_segmentations(segmentations: Sequence[Segmentation], *, height: int, width: int) -> ColumnRuns:
    """The runs of polygons, rasterised as pycocotools does, and of RLEs, compressed or not; none of no polygon.

    Raises:
        SegmentationError: An RLE is malformed or of another size, or a polygon is too far away.
    """
    kinds = [_kind(segmentation) for segmentation in segmentations]
    parts = []
    for kind in dict.fromkeys(kinds or [_POLYGONS]):
        positions = [position for position, found in enumerate(kinds) if found == kind]
        chosen = [segmentations[position] for position in positions]
        parts.append((_runs_of_kind(kind, chosen, height=height, width=width), positions))
    return parts[0][0] if len(parts) == 1 else merge_runs(parts, num_masks=len(segmentations))


def _kind(segmentation: Segmentation) -> str:
    if isinstance(segmentation, list):
        return _POLYGONS
    return _TEXT if isinstance(segmentation["counts"], (str, bytes)) else _NUMBERS


def _runs_of_kind(kind: str, segmentations: Sequence[Any], *, height: int, width: int) -> ColumnRuns:
    """The runs of segmentations of one kind."""
    if kind == _POLYGONS:
        try:
            return runs_of_polygons(segmentations, height=height, width=width)
        except ValueError:
            raise SegmentationError(FAR_POLYGON) from None
    if any(list(rle["size"]) != [height, width] for rle in segmentations):
        raise SegmentationError(OTHER_SIZE)
    found = [rle["counts"] for rle in segmentations]
    try:
        counts = pair_counts(found) if kind == _NUMBERS else decode_counts([_encoded(text) for text in found])
    except ValueError:
        raise SegmentationError(MALFORMED) from None
    try:
        return runs_of_counts(counts, height=height, width=width)
    except ValueError:
        raise SegmentationError(MALFORMED if (counts.pairs < 0).any() else OTHER_SIZE) from None


def _encoded(text: str | bytes) -> bytes:
    return text.encode("ascii", errors="replace") if isinstance(text, str) else text


def to_compressed_rle(segmentation: Segmentation, *, height: int, width: int) -> dict[str, Any]:
    """One compressed RLE of a usable segmentation."""
    if isinstance(segmentation, dict) and isinstance(segmentation["counts"], str):
        return segmentation
    encoded = coco_mask.frPyObjects(segmentation, height, width)
    if isinstance(encoded, list):
        return encoded[0] if len(encoded) == 1 else coco_mask.merge(encoded)
    return encoded


def box_of_segmentation(segmentation: Segmentation, *, height: int, width: int) -> list[float]:
    """Tightest box (x, y, width, height) around a usable segmentation, in pixels."""
    return coco_mask.toBbox(to_compressed_rle(segmentation, height=height, width=width)).tolist()
