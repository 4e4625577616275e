"""Polygons as the runs of pixels that pycocotools sets in them, for all objects of an image at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from solo.datasets.column_runs import ColumnRuns, Integers, ranges

Floats = npt.NDArray[np.float64]
Polygon: TypeAlias = "Sequence[float] | Floats"
"""x y x y ... in pixels, of three points at least."""

# pycocotools draws the border on a grid five times as fine. Pixel i begins there at 5 i, and the border cuts column i
# where it steps from 5 i + 2, the middle of the column, to 5 i + 3.
_FINE, _MIDDLE = 5, 2
# Beyond, the numbers of that grid would leave C's int.
_FARTHEST = 2**28


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
        ValueError: A coordinate is not finite, or so far away that pycocotools could not count up to it.
    """
    polygons = [polygon for of_object in objects for polygon in of_object]
    owner = np.arange(len(objects)).repeat([len(of_object) for of_object in objects])
    edges = _cutting_edges(polygons, width=width)
    edge = np.arange(len(edges.x)).repeat(edges.num_columns)
    column = ranges(edges.first_column, edges.num_columns)
    row = ((_lowest_y(edges, edge, column) + _MIDDLE) // _FINE).clip(0, height)
    # As one number of polygon, column and row, cuts sort so that two after each other enclose a run.
    side = height + 1
    cuts = np.sort((edges.polygon[edge] * width + column) * side + row)
    starts, ends = _united(cuts[0::2], cuts[1::2], owner, size=width * side)
    kept = starts < ends
    starts, ends = starts[kept], ends[kept]
    place = starts // side
    mask = place // width
    above = place * side
    return ColumnRuns(height, width, len(objects), mask, place - mask * width, starts - above, ends - above)


def _cutting_edges(polygons: Sequence[Polygon], *, width: int) -> _Edges:
    lengths = np.array([len(polygon) // 2 for polygon in polygons], np.int64)
    coordinates = np.concatenate([np.zeros(0), *polygons])
    if not abs(coordinates).max(initial=0) < _FARTHEST:
        raise ValueError(f"expected coordinates of polygons within {_FARTHEST} pixels")
    # The cast cuts off towards zero, as C does.
    corners = (coordinates * _FINE + 0.5).astype(np.int64)
    x, y = corners[0::2], corners[1::2]
    ends = lengths.cumsum()
    following = np.arange(1, len(x) + 1)
    following[ends - 1] = ends - lengths
    # Columns whose middle lies before the corner: what two corners differ in is cut between them.
    before = ((x + _MIDDLE) // _FINE).clip(0, width)
    others = before[following]
    start = (before != others).nonzero()[0]
    end = following[start]
    across, down = x[end] - x[start], y[end] - y[start]
    is_steep = abs(across) < abs(down)
    longer, shorter = np.where(is_steep, down, across), np.where(is_steep, across, down)
    lower_end = np.where(longer < 0, end, start)
    return _Edges(
        x=x[lower_end],
        y=y[lower_end],
        slope=shorter / longer,
        is_steep=is_steep,
        polygon=ends.searchsorted(start, side="right"),
        first_column=np.minimum(before[start], others[start]),
        num_columns=abs(before[start] - others[start]),
    )


def _lowest_y(edges: _Edges, edge: Integers, column: Integers) -> Integers:
    """The lesser y of the border's two points at each cut: the last in the middle of the column, the first after it.

    Every expression of floats is that of the source, since each is rounded.
    """
    x, y, slope = edges.x[edge], edges.y[edge], edges.slope[edge]
    middle = column * _FINE + _MIDDLE
    # Along a flat edge x goes up step by step.
    step = middle - x + (slope < 0)
    lowest = (y + slope * step + 0.5).astype(np.int64)
    # Along a steep one y does. Which step is the first whose x lies beyond the middle, or no longer does?
    steep = edges.is_steep[edge].nonzero()[0]
    x, slope, middle = x[steep], slope[steep], middle[steep]
    step = np.ceil((middle + 0.5 - x) / slope)

    def has_cut(step: Floats) -> npt.NDArray[np.bool_]:
        return (x + slope * step + 0.5 >= middle + 1) == (slope > 0)

    # The quotient may be one off where the rounded sum decides.
    step += ~has_cut(step)
    step -= has_cut(step - 1)
    lowest[steep] = y[steep] + step.astype(np.int64) - 1
    return lowest


def _united(starts: Integers, ends: Integers, owner: Integers, *, size: int) -> tuple[Integers, Integers]:
    """Ascending runs of polygons, `size` numbers each, as those of their owners; no pixel twice, some may be empty."""
    shift = owner - np.arange(len(owner))
    if not shift.any():
        return starts, ends
    offset = shift[starts // size] * size
    starts, ends = starts + offset, ends + offset
    order = starts.argsort(kind="stable")
    starts, ends = starts[order], ends[order]
    starts[1:] = np.maximum(starts[1:], np.maximum.accumulate(ends)[:-1])
    return starts, ends
