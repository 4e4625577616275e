"""Masks seen through an index map of rows and one of columns: pixel counts, sums and drawings, from their runs alone.

Resizing to the nearest pixel, flipping, cropping and padding all are such maps, and so is any sequence of them: the
row of the source that a row shows, and likewise for columns. A transformed mask thus is never drawn to be measured,
and drawn only at the pixels that are wanted. Such a map shows any span of its source as a span again, so all it says
is where the edges between the source's positions come to lie.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from solo.datasets.column_runs import ColumnRuns, Integers

_BOTH_EDGES = np.array([[0], [1]])


class Frame(NamedTuple):
    """Where a transformed image shows the edges of its source's rows and columns.

    The span [p, q) of the source is shown from one's edge to the other's; nothing of it when they are the same.

    Attributes:
        rows: (source height + 1,) ascending or descending.
        columns: (source width + 1,) likewise.
    """

    rows: Integers
    columns: Integers


class ShownRuns(NamedTuple):
    """The runs of N masks as a transformed image shows them: R rectangles without a common pixel.

    Attributes:
        mask: (R,) mask of each run, ascending.
        firsts: (N + 1,) where the runs of each mask begin, and the last one's end.
        columns: (2, R) first column that shows it, and the column after the last one, which is larger.
        rows: (2, R) the rows, likewise.
    """

    mask: Integers
    firsts: Integers
    columns: Integers
    rows: Integers


class Mass(NamedTuple):
    """Exact sums over the pixels of N masks.

    Attributes:
        pixels: (N,) how many there are.
        x_sums: (N,) sum of their columns.
        y_sums: (N,) sum of their rows.
    """

    pixels: Integers
    x_sums: Integers
    y_sums: Integers


class Drawing(NamedTuple):
    """N masks cut to windows.

    Attributes:
        windows: (N, 4) x1 y1 x2 y2, x2 and y2 exclusive, that hold all pixels; zeros for a mask without one.
        starts: (N,) position in `pixels` of the first pixel of each window.
        pixels: the pixels of all windows in a row, each window column by column.
    """

    windows: Integers
    starts: Integers
    pixels: npt.NDArray[np.bool_]


def show(masks: ColumnRuns, frame: Frame) -> ShownRuns:
    """Look at masks through a frame of their size."""
    columns = _ascending(frame.columns[masks.column + _BOTH_EDGES], frame.columns)
    return _filled(masks.mask, columns, _ascending(frame.rows[masks.rows], frame.rows), num_masks=masks.num_masks)


def shrink(masks: ShownRuns, rows: Integers, columns: Integers) -> ShownRuns:
    """The runs where only some rows and columns are kept.

    Args:
        masks: N masks.
        rows: How many rows are kept of the first 0, 1, ... ones.
        columns: How many columns, likewise.
    """
    return _filled(masks.mask, columns[masks.columns], rows[masks.rows], num_masks=len(masks.firsts) - 1)


def measure(masks: ShownRuns) -> Mass:
    """Count and sum up the pixels of N masks."""
    (left, right), (top, bottom) = masks.columns, masks.rows
    pixels = (right - left) * (bottom - top)
    # The mean position of a span is half of its first plus its last one.
    doubled = np.array([2 * pixels, pixels * (left + right - 1), pixels * (top + bottom - 1)])
    return Mass(*(_of_masks(np.add, doubled, masks.firsts) // 2))


def draw(masks: ShownRuns, *, block: int = 1) -> Drawing:
    """Draw N masks as they are shown, or shrunk.

    A pixel of the drawing is a block of positions, and is set when at least `block` of its `block` ** 2 are.

    Args:
        masks: N masks.
        block: Side of the blocks.

    Returns:
        The masks in tight windows: no side of them could be moved inwards but for blocks that are not set.
    """
    left, right = masks.columns
    lowest = np.array([left, masks.rows[0], -right, -masks.rows[1]])
    x1, y1, x2, y2 = windows = _of_masks(np.minimum, lowest, masks.firsts) // block
    np.negative(windows[2:], out=windows[2:])
    heights = y2 - y1
    ends = ((x2 - x1) * heights).cumsum()
    starts = ends - (x2 - x1) * heights
    # One entry for each column of a run from here on: the pixel at which row 0 of the masks would begin there.
    widths = right - left
    run = np.arange(len(left)).repeat(widths)
    x = (np.arange(len(run)) + (left + widths - widths.cumsum())[run]) // block
    column = x * heights[masks.mask][run] + (starts - x1 * heights - y1)[masks.mask][run]
    # Each position of a run counts in the pixel of its block: the pixels' counts are sums of steps up and down.
    steps = ((masks.rows[:, None] + np.arange(block)[:, None]) // block).take(run, axis=2) + column
    size = int(ends[-1]) if len(ends) else 0
    up, down = (np.bincount(step.ravel(), minlength=size + 1) for step in steps)
    return Drawing(np.ascontiguousarray(windows.T), starts, (up - down).cumsum()[:-1] >= block)


def _filled(mask: Integers, columns: Integers, rows: Integers, *, num_masks: int) -> ShownRuns:
    """The runs of which anything is shown."""
    kept = ((columns[0] < columns[1]) & (rows[0] < rows[1])).nonzero()[0]
    if len(kept) < len(mask):
        mask, columns, rows = mask[kept], columns.take(kept, axis=1), rows.take(kept, axis=1)
    return ShownRuns(mask, mask.searchsorted(np.arange(num_masks + 1)), columns, rows)


def _ascending(spans: Integers, edges: Integers) -> Integers:
    """(2, R) spans that edges bound, the lesser bound first."""
    return spans if edges[0] <= edges[-1] else spans[::-1]


def _of_masks(combine: np.ufunc, values: Integers, firsts: Integers) -> Integers:
    """(V, N) combination of the (V, R) values of each mask's runs; 0 for a mask without one."""
    filled = (firsts[:-1] < firsts[1:]).nonzero()[0]
    found = np.zeros((len(values), len(firsts) - 1), np.int64)
    if len(filled):
        found[:, filled] = combine.reduceat(values, firsts[filled], axis=1)
    return found
