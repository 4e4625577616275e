"""Bitmaps to the polygons that run along the edges of their pixels, in numpy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]


class Ring(NamedTuple):
    """A closed polygon along pixel edges: pixel (column, row) covers [column, column + 1] x [row, row + 1].

    Horizontal and vertical sides alternate. Outer rings run clockwise in the image, holes counter-clockwise.
    """

    points: Integers  # (P, 2) corners, x y in pixels; the last one joins the first
    is_hole: bool  # whether the ring bounds a hole, not the object


class _Sides(NamedTuple):
    """Sides of one orientation, directed so that the object lies to their right."""

    starts: Integers  # (M,) indices of the corners where they start
    stops: Integers  # (M,) and where they stop
    is_forward: Booleans  # (M,) whether they run towards larger coordinates


def trace_rings(mask: npt.NDArray[np.bool_]) -> list[Ring]:
    """Trace the outlines of a bitmap exactly: filling outer rings and cutting out holes gives the bitmap back.

    Pixels that touch at a corner alone belong to different rings (4-connectivity).

    Args:
        mask: (H, W) bool.

    Returns:
        The rings from top to bottom; none for an empty mask.
    """
    padded = np.pad(mask, 1)  # (H + 2, W + 2)
    upper, lower = padded[:-1], padded[1:]
    # A corner has an odd number of set pixels around it, or two that touch only there.
    is_odd = upper[:, :-1] ^ upper[:, 1:] ^ lower[:, :-1] ^ lower[:, 1:]  # (H + 1, W + 1)
    is_shared = (upper[:, :-1] == lower[:, 1:]) & (upper[:, 1:] == lower[:, :-1]) & (upper[:, :-1] != upper[:, 1:])
    rows, columns = np.nonzero(is_odd | is_shared)  # (K,) each, by row and then by column
    if not len(rows):
        return []
    shared = is_shared[rows, columns]
    # At a shared corner one side stops and the next starts: it counts twice.
    by_row = np.arange(len(rows)).repeat(1 + shared)
    by_column = np.lexsort((rows, columns))
    by_column = by_column.repeat(1 + shared[by_column])
    first = by_row[0::2]
    across = _direct(by_row, is_forward=padded[rows[first] + 1, columns[first] + 1])  # set below: left to right
    first = by_column[0::2]
    down = _direct(by_column, is_forward=padded[rows[first] + 1, columns[first]])  # set to the left: downwards
    # Turning right at shared corners keeps to the pixel that the ring came along.
    after_across = _match(across.stops, across.is_forward, down.starts, down.is_forward, shared)
    after_down = _match(down.stops, ~down.is_forward, across.starts, across.is_forward, shared)
    points = np.stack([columns, rows], axis=1)
    return [_ring(sides, across, points) for sides in _cycles(after_down[after_across].tolist())]


def _direct(corners: Integers, *, is_forward: npt.NDArray[np.bool_]) -> _Sides:
    """Join corners two by two, and direct each side."""
    near, far = corners[0::2], corners[1::2]
    return _Sides(np.where(is_forward, near, far), np.where(is_forward, far, near), is_forward)


def _match(stops: Integers, turn: Booleans, starts: Integers, is_forward: Booleans, shared: Booleans) -> Integers:
    """For each side that stops at a corner, the index of the side that goes on from there.

    At a shared corner two sides start: the one whose direction `is_forward` equals `turn` goes on.
    """
    wanted = 2 * stops + (turn & shared[stops])
    offered = 2 * starts + (is_forward & shared[starts])
    order = offered.argsort()
    found: Integers = order[offered[order].searchsorted(wanted)]
    return found


def _cycles(successors: list[int]) -> list[list[int]]:
    """The cycles of a permutation, each from its smallest index on."""
    cycles: list[list[int]] = []
    is_open = [True] * len(successors)
    for first in range(len(successors)):
        cycle, index = [], first
        while is_open[index]:
            is_open[index] = False
            cycle.append(index)
            index = successors[index]
        if cycle:
            cycles.append(cycle)
    return cycles


def _ring(sides: list[int], across: _Sides, points: Integers) -> Ring:
    corners = points[np.stack([across.starts[sides], across.stops[sides]], axis=1)]  # (P / 2, 2, 2) horizontal sides
    area = (corners[:, 0, 1] * (corners[:, 0, 0] - corners[:, 1, 0])).sum()  # of y times -dx: positive if clockwise
    return Ring(points=corners.reshape(-1, 2), is_hole=bool(area < 0))
