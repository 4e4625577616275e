"""What a COCO `segmentation` may be, the one rule for a usable polygon, and the conversion to column runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from solo.masks.column_runs import ColumnRuns, merge_runs
from solo.masks.polygon_runs import runs_from_polygons
from solo.masks.rle import decode_counts, pair_counts, runs_from_counts

Floats = npt.NDArray[np.float64]
PackedPolygons: TypeAlias = list[bytes]
"""Usable polygons of an object, each x y x y ... in pixels as the bytes of float64."""
Segmentation: TypeAlias = "PackedPolygons | dict[str, Any]"
"""Packed polygons, or an RLE `dict(size=[height, width], counts=text or numbers)`."""

MIN_COORDINATES = 6
MAX_COORDINATE = 100_000
"""Farthest that a point may lie from the origin, in pixels: a misplaced decimal point would cost minutes to rasterise,
and the integers and tolerances of `solo.masks.polygon_runs` are made for such coordinates."""

SHORT_POLYGON = "polygon of less than 3 points or of an odd number of coordinates"
FAR_POLYGON = f"polygon with a point more than {MAX_COORDINATE:,} pixels away"
NAN_POLYGON = "polygon with a coordinate that is not a number"
OTHER_SIZE = "RLE of another size than the image"
MALFORMED = "segmentation is neither polygons nor RLE"
EMPTY = "segmentation without a pixel in the image"

_POLYGONS, _TEXT, _NUMBERS = "polygons", "text", "numbers"


class SegmentationError(ValueError):
    """A segmentation cannot be used; `kind` says why."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


# ----------------------------------------------------------------------------------------------------- usable polygons
def find_polygon_problems(num_coordinates: npt.NDArray[np.int64], lowest: Floats, highest: Floats) -> dict[int, str]:
    """Find the polygons that cannot be used: a polygon has 3 points and finite coordinates near the image.

    Args:
        num_coordinates: (P,) number of coordinates of each polygon.
        lowest: (P, 2) smallest x and y, NaN when one coordinate is.
        highest: (P, 2) largest x and y, likewise.

    Returns:
        Index of each unusable polygon -> `SHORT_POLYGON`, `FAR_POLYGON` or `NAN_POLYGON`.
    """
    is_short = (num_coordinates < MIN_COORDINATES) | (num_coordinates % 2 == 1)
    is_far = ((lowest < -MAX_COORDINATE) | (highest > MAX_COORDINATE)).any(axis=1)
    has_nan = np.isnan(lowest).any(axis=1)
    kinds = ((SHORT_POLYGON, is_short), (FAR_POLYGON, is_far), (NAN_POLYGON, has_nan))
    return {index: kind for kind, found in kinds for index in found.nonzero()[0].tolist()}


def select_usable(indices: Sequence[int], problems: dict[int, str]) -> Sequence[int]:
    """Select the usable polygons of an object: short ones are dropped, other problems make the object unusable.

    `problems` is what `find_polygon_problems` returned.

    Raises:
        SegmentationError: A polygon is far away or not finite, or none is usable.
    """
    if indices and problems.keys().isdisjoint(indices):
        return indices
    for index in indices:
        if problems.get(index, SHORT_POLYGON) != SHORT_POLYGON:
            raise SegmentationError(problems[index])
    usable = [index for index in indices if index not in problems]
    if not usable:
        raise SegmentationError(SHORT_POLYGON)
    return usable


def pack_segmentation(segmentation: Any) -> Segmentation:
    """Pack a segmentation as it is in an annotation: polygons [[x, y, x, y, ...], ...] or an RLE.

    Returns:
        The usable polygons, or the RLE; no polygon when there is nothing to use.

    Raises:
        SegmentationError: A polygon is far away, or holds something else than finite numbers.
    """
    if isinstance(segmentation, dict):
        is_rle = "size" in segmentation and isinstance(segmentation.get("counts"), (list, str, bytes))
        return segmentation if is_rle else []
    if not isinstance(segmentation, list):
        return []
    try:
        polygons = [np.asarray(polygon, np.float64).ravel() for polygon in segmentation]
    except (OverflowError, TypeError, ValueError):
        raise SegmentationError(MALFORMED) from None
    # Zeros fill up what lacks a coordinate, and the empty polygon: both are short whatever their bounds.
    points = [np.append(p, [0.0] * (len(p) % 2 if len(p) else 2)).reshape(-1, 2) for p in polygons]
    lowest, highest = (np.array([bound(p, axis=0) for p in points]).reshape(-1, 2) for bound in (np.min, np.max))
    problems = find_polygon_problems(np.array([len(p) for p in polygons], np.int64), lowest, highest)
    try:
        return [polygons[index].tobytes() for index in select_usable(range(len(polygons)), problems)]
    except SegmentationError as problem:
        if problem.kind == SHORT_POLYGON:
            return []
        raise


def unpack_segmentation(segmentation: Segmentation) -> list[list[float]] | dict[str, Any]:
    """Give a segmentation as in an annotation file: polygons as lists [x, y, x, y, ...] in pixels, or the RLE."""
    if isinstance(segmentation, dict):
        return segmentation
    return [np.frombuffer(polygon, np.float64).tolist() for polygon in segmentation]


# ------------------------------------------------------------------------------------------------------- to column runs
def check_rle(rle: dict[str, Any], *, height: int, width: int) -> bool:
    """Check that the RLE of an annotation of an image of (height, width) can be decoded, and whether it has a pixel.

    Raises:
        SegmentationError: It is malformed, or of another size.
    """
    counts = rle.get("counts")
    if not isinstance(counts, (list, str)):
        raise SegmentationError(MALFORMED)
    if isinstance(counts, list):
        if not all(type(run) is int and run >= 0 for run in counts):
            raise SegmentationError(MALFORMED)
        if sum(counts) != height * width:  # before numpy, which cannot hold numbers of any length
            raise SegmentationError(OTHER_SIZE)
    return len(runs_from_segmentations([rle], height=height, width=width).mask) > 0


def runs_from_segmentations(segmentations: Sequence[Segmentation], *, height: int, width: int) -> ColumnRuns:
    """Rasterise packed polygons, equal to pycocotools, and decode RLEs; an object without polygons has no pixel.

    Raises:
        SegmentationError: An RLE is malformed or of another size.
    """
    kinds = [_kind(segmentation) for segmentation in segmentations]
    parts = []
    for kind in dict.fromkeys(kinds or [_POLYGONS]):
        indices = [index for index, found in enumerate(kinds) if found == kind]
        chosen: list[Any] = [segmentations[index] for index in indices]
        convert = runs_from_polygons if kind == _POLYGONS else _runs_from_rles
        parts.append((convert(chosen, height=height, width=width), indices))
    return parts[0][0] if len(parts) == 1 else merge_runs(parts, num_masks=len(segmentations))


def _kind(segmentation: Segmentation) -> str:
    if isinstance(segmentation, list):
        return _POLYGONS
    return _TEXT if isinstance(segmentation["counts"], (str, bytes)) else _NUMBERS


def _runs_from_rles(rles: Sequence[dict[str, Any]], *, height: int, width: int) -> ColumnRuns:
    """Decode RLEs that are all compressed or all uncompressed."""
    if any(list(rle["size"]) != [height, width] for rle in rles):
        raise SegmentationError(OTHER_SIZE)
    encoded = [rle["counts"] for rle in rles]
    try:
        counts = decode_counts(encoded) if _kind(rles[0]) == _TEXT else pair_counts(encoded)
    except ValueError:
        raise SegmentationError(MALFORMED) from None
    try:
        return runs_from_counts(counts, height=height, width=width)
    except ValueError:
        raise SegmentationError(MALFORMED if (counts.pairs < 0).any() else OTHER_SIZE) from None
