"""Masks seen through an index map of rows and one of columns: pixel counts, sums and drawings, from their runs alone.

Resizing to the nearest pixel, flipping, cropping and padding all are such maps, and so is any sequence of them: the
row of the source that a row shows, and likewise for columns. A transformed mask thus is never drawn to be measured,
and drawn only at the pixels that are wanted. Such a map shows any span of its source as a span again, so all it says
is where the edges between the source's positions come to lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from solo.masks.column_runs import ColumnRuns, Integers

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
    """The runs of N masks as a transformed image shows them: R rectangles without a common pixel, some without any.

    Attributes:
        num_masks: N.
        mask: (R,) mask of each run, ascending.
        columns: (2, R) first column that shows it, and the column after the last one; the same when none does.
        rows: (2, R) the rows, likewise.
    """

    num_masks: int
    mask: Integers
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
    return ShownRuns(masks.num_masks, masks.mask, columns, _ascending(frame.rows[masks.rows], frame.rows))


def join(parts: Sequence[ShownRuns]) -> ShownRuns:
    """The masks of several, at least one, in a row."""
    if len(parts) == 1:
        return parts[0]
    ends = np.cumsum([part.num_masks for part in parts], dtype=np.int64)
    return ShownRuns(
        int(ends[-1]),
        np.concatenate([part.mask + (end - part.num_masks) for part, end in zip(parts, ends, strict=True)]),
        np.concatenate([part.columns for part in parts], axis=1),
        np.concatenate([part.rows for part in parts], axis=1),
    )


def shrink(masks: ShownRuns, rows: Integers, columns: Integers) -> ShownRuns:
    """The runs where only some rows and columns are kept.

    Args:
        masks: N masks.
        rows: How many rows are kept of the first 0, 1, ... ones.
        columns: How many columns, likewise.
    """
    return masks._replace(columns=columns[masks.columns], rows=rows[masks.rows])


def measure(masks: ShownRuns) -> Mass:
    """Count and sum up the pixels of N masks."""
    (left, right), (top, bottom) = masks.columns, masks.rows
    pixels = (right - left) * (bottom - top)
    # The mean position of a span is half of its first plus its last one.
    doubled = np.array([2 * pixels, pixels * (left + right - 1), pixels * (top + bottom - 1)])
    return Mass(*(_of_masks(np.add, doubled, masks.mask, num_masks=masks.num_masks) // 2))


def draw(masks: ShownRuns, *, block: int = 1) -> Drawing:
    """Draw N masks as they are shown, or shrunk.

    A pixel of the drawing is a block of positions, and is set when at least `block` of its `block` ** 2 are.

    Args:
        masks: N masks.
        block: Side of the blocks.

    Returns:
        The masks in tight windows: no side of them could be moved inwards but for blocks that are not set.
    """
    kept = ((masks.columns[0] < masks.columns[1]) & (masks.rows[0] < masks.rows[1])).nonzero()[0]
    mask, (left, right), rows = masks.mask[kept], masks.columns.take(kept, axis=1), masks.rows.take(kept, axis=1)
    lowest = np.array([left, rows[0], -right, -rows[1]])
    x1, y1, x2, y2 = windows = _of_masks(np.minimum, lowest, mask, num_masks=masks.num_masks) // block
    np.negative(windows[2:], out=windows[2:])
    heights = y2 - y1
    ends = ((x2 - x1) * heights).cumsum()
    starts = ends - (x2 - x1) * heights
    # One entry for each column of a run from here on: the pixel at which row 0 of the masks would begin there.
    widths = right - left
    run = np.arange(len(left)).repeat(widths)
    x = (np.arange(len(run)) + (left + widths - widths.cumsum())[run]) // block
    column = x * heights[mask][run] + (starts - x1 * heights - y1)[mask][run]
    # Each position of a run counts in the pixel of its block: the pixels' counts are sums of steps up and down.
    up, down = ((rows[:, None] + np.arange(block)[:, None]) // block).take(run, axis=2) + column
    steps = np.zeros(int(ends[-1]) + 1 if len(ends) else 1, np.int64)
    np.add.at(steps, up.ravel(), 1)
    np.subtract.at(steps, down.ravel(), 1)
    return Drawing(np.ascontiguousarray(windows.T), starts, steps.cumsum()[:-1] >= block)


def _ascending(spans: Integers, edges: Integers) -> Integers:
    """(2, R) spans that edges bound, the lesser bound first."""
    return spans if edges[0] <= edges[-1] else spans[::-1]


def _of_masks(combine: np.ufunc, values: Integers, mask: Integers, *, num_masks: int) -> Integers:
    """(V, N) combination of the (V, R) values of each mask's runs; 0 for a mask without one."""
    firsts = mask.searchsorted(np.arange(num_masks + 1))
    filled = (firsts[:-1] < firsts[1:]).nonzero()[0]
    found = np.zeros((len(values), num_masks), np.int64)
    if len(filled):
        found[:, filled] = combine.reduceat(values, firsts[filled], axis=1)
    return found
