"""The polygons of a whole annotation file: stored as arrays while it is parsed, and checked all at once."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from solo.masks.segmentations import PackedPolygons, find_polygon_problems

Floats = npt.NDArray[np.float64]

POINT_LISTS = "polygon given as a list of [x, y] points"

_NUMBERS = {int, float}
_CHUNK = 10_000  # polygons whose coordinates stay in the processor's cache


class PolygonTable:
    """Collects polygons; a list of Python's floats takes four times the memory and is slow to pickle and to free."""

    def __init__(self) -> None:
        self._coordinates = array("d")
        self._lengths = array("q")
        self._from_points: set[int] = set()

    def extract_polygons(self, record: dict[str, Any]) -> dict[str, Any]:
        """Replace the polygons under `segmentation` by the range of their indices: an `object_hook` for `json`.

        A list of [x, y] points counts as a polygon. What is not made of lists of numbers stays as it is.
        """
        polygons = record.get("segmentation")
        if not isinstance(polygons, list):
            return record
        if polygons and type(polygons[0]) in _NUMBERS:
            polygons = [polygons]  # one polygon that is not in a list of polygons
        is_points = False
        if not all(map(_is_numbers, polygons)):
            polygons, is_points = [_flatten(polygon) for polygon in polygons], True
        elif len(polygons) > 2 and all(len(polygon) == 2 for polygon in polygons):
            polygons, is_points = [_flatten(polygons)], True
        if None in polygons:
            return record
        first = len(self._lengths)
        for polygon in polygons:
            self._add(polygon)
        record["segmentation"] = range(first, len(self._lengths))
        if is_points:
            self._from_points.add(first)
        return record

    def _add(self, polygon: list[float]) -> None:
        """Polygons of no or half a point are never used; zeros fill them up, so that x and y alternate throughout."""
        length = len(polygon)
        self._lengths.append(length)
        try:
            self._coordinates.fromlist(polygon)
        except OverflowError:  # an integer of hundreds of digits
            self._coordinates.fromlist([math.inf if type(value) is int else value for value in polygon])
        if length % 2 or not length:
            self._coordinates.fromlist([0.0] * (length % 2 or 2))

    def check(self) -> CheckedPolygons:
        """Check all polygons; none can be added afterwards."""
        lengths = np.asarray(self._lengths, np.int64)
        padded = np.maximum(lengths + lengths % 2, 2)
        offsets = np.concatenate([[0], padded.cumsum()])
        coordinates = np.asarray(self._coordinates, np.float64)
        lowest, highest, areas = _extents_and_areas(coordinates, offsets)
        return CheckedPolygons(
            problems=find_polygon_problems(lengths, lowest, highest),
            from_points=frozenset(self._from_points),
            lowest=lowest,
            highest=highest,
            areas=areas,
            coordinates=coordinates.view(np.uint8).data,
            offsets=(offsets * coordinates.itemsize).tolist(),
        )


def _is_numbers(values: Any) -> bool:
    return isinstance(values, list) and set(map(type, values)) <= _NUMBERS


def _flatten(points: Any) -> list[float] | None:
    """A polygon x y x y ... from one or from a list of [x, y] points; None for anything else."""
    if _is_numbers(points):
        return list(points)
    if isinstance(points, list) and all(_is_numbers(point) and len(point) == 2 for point in points):
        return [value for point in points for value in point]
    return None


@dataclass(frozen=True, kw_only=True)
class CheckedPolygons:
    """P polygons."""

    problems: dict[int, str]  # index -> why the polygon cannot be used
    from_points: frozenset[int]  # index of the first polygon of each object that was given by lists of [x, y] points
    lowest: Floats  # (P, 2) least x and y, in pixels
    highest: Floats  # (P, 2) greatest x and y
    areas: Floats  # (P,) as of a polygon that does not cross itself, in square pixels
    coordinates: memoryview  # the bytes of all coordinates
    offsets: list[int]  # (P + 1) where each polygon begins in them

    def packed(self, indices: Iterable[int]) -> PackedPolygons:
        """The polygons at these indices, as bytes."""
        offsets, coordinates = self.offsets, self.coordinates
        return [bytes(coordinates[offsets[index] : offsets[index + 1]]) for index in indices]


def _extents_and_areas(coordinates: Floats, offsets: npt.NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
    """(P, 2) least and (P, 2) greatest x and y, and (P,) areas."""
    count = len(offsets) - 1
    lowest, highest, areas = np.empty((count, 2)), np.empty((count, 2)), np.empty(count)
    for start in range(0, count, _CHUNK):
        chunk = slice(start, min(start + _CHUNK, count))
        first, last = offsets[chunk.start], offsets[chunk.stop]
        x, y = np.ascontiguousarray(coordinates[first:last].reshape(-1, 2).T)
        starts, ends = (offsets[chunk] - first) // 2, (offsets[chunk.start + 1 : chunk.stop + 1] - first) // 2
        for axis, values in enumerate((x, y)):
            lowest[chunk, axis] = np.minimum.reduceat(values, starts)
            highest[chunk, axis] = np.maximum.reduceat(values, starts)
        areas[chunk] = _areas(x, y, starts, ends)
    return lowest, highest, areas


def _areas(x: Floats, y: Floats, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> Floats:
    """(P,) half the sum of the cross products of neighbouring points; without meaning where one is not finite."""
    crosses = np.empty(len(x))
    with np.errstate(invalid="ignore", over="ignore"):
        crosses[:-1] = x[:-1] * y[1:] - x[1:] * y[:-1]
        # The last point of a polygon is followed by its first.
        crosses[ends - 1] = x[ends - 1] * y[starts] - x[starts] * y[ends - 1]
        return np.abs(np.add.reduceat(crosses, starts)) / 2
