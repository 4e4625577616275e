"""Rasterises polygons to column runs, equal to pycocotools pixel for pixel, for all objects of an image at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from solo.masks.column_runs import ColumnRuns, Integers

Floats = npt.NDArray[np.float64]

# pycocotools traces the outline on a grid five times as fine. Pixel i begins there at 5 i, and the outline cuts column
# i where it steps from 5 i + 2, the middle of the column, to 5 i + 3.
_FINE, _MIDDLE = 5, 2
# Smaller than the distance of any quotient in `_lowest_y` from a whole number, larger than its rounding error; both
# hold for coordinates up to 2**17.
_TOLERANCE = 1e-7
_POINT_BYTES = 16


class _Edges(NamedTuple):
    """E edges that cut columns, on the fine grid; each begins at its lower end along its longer axis."""

    x: Integers  # (E,) where it begins
    y: Integers  # (E,)
    slope: Floats  # (E,) how far it moves along the shorter axis with each step along the longer one
    is_steep: npt.NDArray[np.bool_]  # (E,) whether the longer axis is y
    polygon: Integers  # (E,) index of its polygon
    first_column: Integers  # (E,) that it cuts
    num_columns: Integers  # (E,) that it cuts, at least one


def runs_from_polygons(objects: Sequence[Sequence[bytes]], *, height: int, width: int) -> ColumnRuns:
    """Rasterise each object's polygons and unite them.

    Equal to `frPyObjects` and `merge` of pycocotools. Its `rleFrPoly` (maskApi.c) traces the outline on a fine grid,
    with rounding of its own, and sets in each column the pixels between the first and second cut, the third and fourth,
    and so on. Only these cuts are computed here.

    Args:
        objects: N objects, each of any number of usable polygons (see `solo.masks.segmentations`), as the bytes of
            float64 x y x y ... in pixels.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
    """
    polygons = [polygon for polygons_of_object in objects for polygon in polygons_of_object]
    edges = _find_cutting_edges(polygons, width=width)
    edge = np.arange(len(edges.x)).repeat(edges.num_columns)  # (cuts,)
    # One axis for the columns of all polygons: column c of polygon p is p * width + c.
    first = edges.polygon * width + edges.first_column  # (E,)
    column = np.arange(len(edge)) + (first + edges.num_columns - edges.num_columns.cumsum())[edge]  # (cuts,)
    row = (_lowest_y(edges, edge, column - (edges.polygon * width)[edge]) + _MIDDLE) // _FINE  # (cuts,)
    # Column and row as one number: sorted, two consecutive cuts enclose a run.
    side = height + 1
    cuts = column * side + np.minimum(np.maximum(row, 0), height)
    cuts.sort()
    runs = cuts.reshape(-1, 2).T  # (2, R)
    num_polygons = [len(polygons_of_object) for polygons_of_object in objects]
    if num_polygons.count(1) < len(objects):
        runs = _unite(runs, np.arange(len(objects)).repeat(num_polygons), size=width * side)
    column = runs[0] // side  # (R,)
    mask = column // width
    return ColumnRuns(height, width, len(objects), mask, column - mask * width, runs - column * side)


def _find_cutting_edges(polygons: Sequence[bytes], *, width: int) -> _Edges:
    # Each polygon is closed by repeating its first point.
    closed = np.frombuffer(b"".join([polygon + polygon[:_POINT_BYTES] for polygon in polygons]), np.float64)
    # The cast truncates towards zero, as C does.
    corners = (closed * _FINE + 0.5).astype(np.int64)
    x, y = corners[0::2], corners[1::2]
    ends = np.array([len(polygon) // _POINT_BYTES + 1 for polygon in polygons], np.int64).cumsum()
    # The columns whose middle lies before one corner and not before the next are cut by the edge between them.
    before = np.minimum(np.maximum((x + _MIDDLE) // _FINE, 0), width)
    cut = before[1:] - before[:-1]
    cut[ends[:-1] - 1] = 0  # no edge from one polygon to the next
    start = cut.nonzero()[0]  # (E,)
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
    """Find the smaller y of the outline's two points at each cut: the last in the column's middle, the first after it.

    Every floating-point expression is that of maskApi.c, since each one is rounded.
    """
    x, y, slope = edges.x[edge], edges.y[edge], edges.slope[edge]  # (cuts,)
    # Along a flat edge x goes up step by step.
    to_middle = column * _FINE + _MIDDLE - x
    lowest = (y + slope * (to_middle + (slope < 0)) + 0.5).astype(np.int64)
    # Along a steep one y does. Which step is the first whose x lies beyond the middle, or no longer does?
    steep = edges.is_steep[edge].nonzero()[0]
    x, slope, to_middle = x[steep], slope[steep], to_middle[steep]
    step = np.ceil((to_middle + 0.5) / slope - _TOLERANCE)
    # At a whole quotient the sum, as it is rounded, decides between this step and the next.
    has_cut = (x + slope * step + 0.5 >= x + to_middle + 1) == (slope > 0)
    lowest[steep] = y[steep] + step.astype(np.int64) - has_cut
    return lowest


def _unite(runs: Integers, owner: Integers, *, size: int) -> Integers:
    """Turn the ascending runs (2, R) of polygons, `size` numbers each, into runs of their owners without overlap."""
    starts, ends = runs + (owner - np.arange(len(owner)))[runs[0] // size] * size
    order = starts.argsort(kind="stable")
    starts, ends = starts[order], ends[order]
    # A run starts at the earliest where all runs before it have ended; what is left may be empty.
    starts[1:] = np.maximum(starts[1:], np.maximum.accumulate(ends)[:-1])
    return np.array([starts, np.maximum(starts, ends)])
