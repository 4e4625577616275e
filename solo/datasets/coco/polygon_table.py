"""The polygons of a whole annotation file: packed while it is read, checked all at once, unpacked image by image."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from solo.masks.segmentations import FAR_POLYGON, FARTHEST_POINT, MALFORMED, SHORT_POLYGON, SegmentationError

Floats = npt.NDArray[np.float64]
PackedPolygons = list[bytes]
"""Polygons of an object, each x y x y ... in pixels as the bytes of float64."""

_NUMBERS = {int, float}
# So many polygons' numbers stay in the processor's cache.
_CHUNK = 10_000


class PolygonTable:
    """Collects polygons; a list of Python's floats takes four times the memory and is slow to pickle and to free."""

    def __init__(self) -> None:
        self._coordinates = array("d")
        self._lengths = array("q")

    def take_from(self, record: dict[str, Any]) -> dict[str, Any]:
        """Replace the polygons under `segmentation` by the range of their positions: an `object_hook` for `json`.

        What is not made of lists of numbers stays as it is.
        """
        polygons = record.get("segmentation")
        if not isinstance(polygons, list):
            return record
        if polygons and type(polygons[0]) in _NUMBERS:
            polygons = [polygons]  # one polygon that is not in a list of polygons
        if all(isinstance(polygon, list) and set(map(type, polygon)) <= _NUMBERS for polygon in polygons):
            first = len(self._lengths)
            for polygon in polygons:
                self._add(polygon)
            record["segmentation"] = range(first, len(self._lengths))
        return record

    def _add(self, polygon: list[float]) -> None:
        """Polygons of no or half a point are never used; zeros fill them up, so that x and y alternate throughout."""
        length = len(polygon)
        self._lengths.append(length)
        try:
            self._coordinates.fromlist(polygon)
        except OverflowError:  # a whole number of hundreds of digits
            self._coordinates.fromlist([math.inf if type(value) is int else value for value in polygon])
        if length % 2 or not length:
            self._coordinates.fromlist([0.0] * (length % 2 or 2))

    def checked(self) -> CheckedPolygons:
        """Check all; nothing can be taken afterwards."""
        lengths = np.asarray(self._lengths, np.int64)
        padded = np.maximum(lengths + lengths % 2, 2)
        offsets = np.concatenate([[0], padded.cumsum()])
        coordinates = np.asarray(self._coordinates, np.float64)
        lowest, highest, areas = _measure(coordinates, offsets)
        is_short = (lengths < 6) | (lengths % 2 == 1)
        is_far = ((lowest < -FARTHEST_POINT) | (highest > FARTHEST_POINT)).any(axis=1)
        has_nan = np.isnan(lowest).any(axis=1)
        problems = {
            position: kind
            for kind, found in ((SHORT_POLYGON, is_short), (FAR_POLYGON, is_far), (MALFORMED, has_nan))
            for position in np.flatnonzero(found).tolist()
        }
        return CheckedPolygons(
            problems=problems,
            lowest=lowest,
            highest=highest,
            areas=areas,
            coordinates=coordinates.view(np.uint8).data,
            offsets=(offsets * coordinates.itemsize).tolist(),
        )


@dataclass(frozen=True, kw_only=True)
class CheckedPolygons:
    """P polygons.

    Attributes:
        problems: Position -> why the polygon cannot be used.
        lowest: (P, 2) least x and y, in pixels.
        highest: (P, 2) greatest x and y, in pixels.
        areas: (P,) areas as of a polygon that does not cross itself, in square pixels.
        coordinates: The bytes of all coordinates.
        offsets: (P + 1) where each polygon begins in them.
    """

    problems: dict[int, str]
    lowest: Floats
    highest: Floats
    areas: Floats
    coordinates: memoryview
    offsets: list[int]

    def usable(self, positions: range) -> Sequence[int]:
        """Positions of an object's polygons without those that are too short to enclose anything.

        Raises:
            SegmentationError: None can be used, or one is no polygon near the image.
        """
        if self.problems.keys().isdisjoint(positions) and positions:
            return positions
        for position in positions:
            if self.problems.get(position, SHORT_POLYGON) != SHORT_POLYGON:
                raise SegmentationError(self.problems[position])
        used = [position for position in positions if position not in self.problems]
        if not used:
            raise SegmentationError(SHORT_POLYGON)
        return used

    def packed(self, positions: Iterable[int]) -> PackedPolygons:
        """The polygons at these positions, as bytes."""
        offsets, coordinates = self.offsets, self.coordinates
        return [bytes(coordinates[offsets[position] : offsets[position + 1]]) for position in positions]


def unpack_polygons(packed: PackedPolygons) -> list[list[float]]:
    """The polygons as lists, each [x, y, x, y, ...] in pixels."""
    return [array("d", polygon).tolist() for polygon in packed]


def _measure(coordinates: Floats, offsets: npt.NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
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
