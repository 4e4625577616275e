"""Polygons as the runs of pixels that pycocotools sets in them, for all objects of an image at once."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from solo.masks.column_runs import ColumnRuns, Integers

Floats = npt.NDArray[np.float64]
Polygon: TypeAlias = "Sequence[float] | Floats"
"""x y x y ... in pixels, of three points at least."""

# pycocotools draws the border on a grid five times as fine. Pixel i begins there at 5 i, and the border cuts column i
# where it steps from 5 i + 2, the middle of the column, to 5 i + 3.
_FINE, _MIDDLE = 5, 2
_FARTHEST = 2**17
# Less than any quotient of `_lowest_y` is off a whole number, more than its rounding error: both as of `_FARTHEST`.
_TOLERANCE = 1e-7


class _Edges(NamedTuple):
    """E edges that cut columns, on the fine grid; each begins at its lower end along its longer axis.

    Attributes:
        x: (E,) x at which it begins.
        y: (E,) y at which it begins.
        slope: (E,) how far it moves along the shorter axis with each step along the longer one.
        is_steep: (E,) whether the longer axis is y.
        polygon: (E,) whose edge it is.
        first_column: (E,) first column that it cuts.
        num_columns: (E,) how many it cuts, at least one.
    """

    x: Integers
    y: Integers
    slope: Floats
    is_steep: npt.NDArray[np.bool_]
    polygon: Integers
    first_column: Integers
    num_columns: Integers


def runs_of_polygons(objects: Sequence[Sequence[Polygon]], *, height: int, width: int) -> ColumnRuns:
    """Rasterise each object's polygons and unite them; equal to `frPyObjects` and `merge` of pycocotools.

    `rleFrPoly` in `maskApi.c` draws the border on a fine grid, with rounding of its own, and sets in each column the
    pixels between its first and second cut, its third and fourth, and so on. Here only these cuts are worked out.

    Args:
        objects: N objects, each of any number of polygons.
        height: Height of the image in pixels.
        width: Width of the image in pixels.

    Raises:
        ValueError: A coordinate is not finite, or beyond 131,072.
    """
    polygons = [polygon for of_object in objects for polygon in of_object]
    edges = _cutting_edges(polygons, width=width)
    edge = np.arange(len(edges.x)).repeat(edges.num_columns)
    # The columns of all polygons in a row are places.
    first_place = edges.polygon * width + edges.first_column
    place = np.arange(len(edge)) + (first_place + edges.num_columns - edges.num_columns.cumsum())[edge]
    row = (_lowest_y(edges, edge, place - (edges.polygon * width)[edge]) + _MIDDLE) // _FINE
    # As one number of place and row, cuts sort so that two after each other enclose a run.
    side = height + 1
    cuts = place * side + np.minimum(np.maximum(row, 0), height)
    cuts.sort()
    runs = cuts.reshape(-1, 2).T
    num_polygons = [len(of_object) for of_object in objects]
    if num_polygons.count(1) < len(objects):
        runs = _united(runs, np.arange(len(objects)).repeat(num_polygons), size=width * side)
    place = runs[0] // side
    mask = place // width
    return ColumnRuns(height, width, len(objects), mask, place - mask * width, runs - place * side)


def _cutting_edges(polygons: Sequence[Polygon], *, width: int) -> _Edges:
    closed = array("d")
    for polygon in polygons:
        closed.fromlist([*polygon, *polygon[:2]])
    coordinates = np.asarray(closed)
    if not np.maximum.reduce(abs(coordinates), initial=0) <= _FARTHEST:
        raise ValueError(f"expected coordinates of polygons within {_FARTHEST} pixels")
    # The cast cuts off towards zero, as C does.
    corners = (coordinates * _FINE + 0.5).astype(np.int64)
    x, y = corners[0::2], corners[1::2]
    ends = np.array([len(polygon) // 2 + 1 for polygon in polygons], np.int64).cumsum()
    # Columns whose middle lies before the corner: what two corners differ in is cut between them.
    before = np.minimum(np.maximum((x + _MIDDLE) // _FINE, 0), width)
    cut = before[1:] - before[:-1]
    cut[ends[:-1] - 1] = 0  # from one polygon to the next
    start = cut.nonzero()[0]
    end = start + 1
    across, down = x[end] - x[start], y[end] - y[start]
    is_steep = abs(across) < abs(down)
    longer, shorter = np.where(is_steep, down, across), np.where(is_steep, across, down)
    lower_end = start + (longer < 0)
    return _Edges(
        x=x[lower_end],
        y=y[lower_end],
        slope=shorter / longer,
        is_steep=is_steep,
        polygon=ends.searchsorted(start, side="right"),
        first_column=np.minimum(before[start], before[end]),
        num_columns=abs(cut[start]),
    )


def _lowest_y(edges: _Edges, edge: Integers, column: Integers) -> Integers:
    """The lesser y of the border's two points at each cut: the last in the middle of the column, the first after it.

    Every expression of floats is that of the source, since each is rounded.
    """
    x, y, slope = edges.x[edge], edges.y[edge], edges.slope[edge]
    # Along a flat edge x goes up step by step.
    to_middle = column * _FINE + _MIDDLE - x
    lowest = (y + slope * (to_middle + (slope < 0)) + 0.5).astype(np.int64)
    # Along a steep one y does. Which step is the first whose x lies beyond the middle, or no longer does?
    steep = edges.is_steep[edge].nonzero()[0]
    x, slope, to_middle = x[steep], slope[steep], to_middle[steep]
    step = np.ceil((to_middle + 0.5) / slope - _TOLERANCE)
    has_cut = (x + slope * step + 0.5 >= x + to_middle + 1) == (slope > 0)
    # At a whole quotient the sum, as it is rounded, decides between this step and the next.
    lowest[steep] = y[steep] + step.astype(np.int64) - has_cut
    return lowest


def _united(runs: Integers, owner: Integers, *, size: int) -> Integers:
    """(2, R) ascending runs of polygons, `size` numbers each, as those of their owners; no pixel twice."""
    starts, ends = runs + (owner - np.arange(len(owner)))[runs[0] // size] * size
    order = starts.argsort(kind="stable")
    starts, ends = starts[order], ends[order]
    starts[1:] = np.maximum(starts[1:], np.maximum.accumulate(ends)[:-1])
    return np.array([starts, np.maximum(starts, ends)])
