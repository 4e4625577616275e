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

from solo.datasets.column_runs import ColumnRuns, Integers, ranges


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
        num_masks: N.
        mask: (R,) mask of each run, ascending.
        left: (R,) first column that shows it.
        right: (R,) the column after the last one, larger than `left`.
        top: (R,) first row that shows it.
        bottom: (R,) the row after the last one, larger than `top`.
    """

    num_masks: int
    mask: Integers
    left: Integers
    right: Integers
    top: Integers
    bottom: Integers


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
    left, right = _span(frame.columns, masks.column, masks.column + 1)
    top, bottom = _span(frame.rows, masks.top, masks.bottom)
    return _without_empty(ShownRuns(masks.num_masks, masks.mask, left, right, top, bottom))


def shrink(masks: ShownRuns, rows: Integers, columns: Integers) -> ShownRuns:
    """The runs where only some rows and columns are kept.

    Args:
        masks: N masks.
        rows: How many rows are kept of the first 0, 1, ... ones.
        columns: How many columns, likewise.
    """
    num_masks, mask, left, right, top, bottom = masks
    return _without_empty(ShownRuns(num_masks, mask, columns[left], columns[right], rows[top], rows[bottom]))


def measure(masks: ShownRuns) -> Mass:
    """Count and sum up the pixels of N masks."""
    num_masks, mask, left, right, top, bottom = masks
    pixels = (right - left) * (bottom - top)

    def total(values: Integers) -> Integers:
        # A float holds these integers exactly: they stay far below 2**53.
        return np.bincount(mask, weights=values, minlength=num_masks).astype(np.int64)

    # The mean position of a span is half of its first plus its last one.
    return Mass(total(pixels), total(pixels * (left + right - 1)) // 2, total(pixels * (top + bottom - 1)) // 2)


def draw(masks: ShownRuns, *, block: int = 1) -> Drawing:
    """Draw N masks as they are shown, or shrunk.

    A pixel of the drawing is a block of positions, and is set when at least `block` of its `block` ** 2 are.

    Args:
        masks: N masks.
        block: Side of the blocks.

    Returns:
        The masks in tight windows: no side of them could be moved inwards but for blocks that are not set.
    """
    num_masks, mask, left, right, top, bottom = masks
    windows = _windows(masks, block)
    heights = windows[:, 3] - windows[:, 1]
    ends = ((windows[:, 2] - windows[:, 0]) * heights).cumsum()
    starts = np.concatenate([np.zeros(1, np.int64), ends])[:-1]
    # One entry for each column of a run from here on: where the window's column would begin that holds it, with row 0.
    widths = right - left
    run = np.arange(len(mask)).repeat(widths)
    column = ranges(left, widths) // block * heights[mask][run]
    column += (starts - windows[:, 0] * heights - windows[:, 1])[mask][run]
    # Each position of a run counts in the pixel of its block: the pixels' counts are sums of steps up and down.
    size = int(ends[-1]) if num_masks else 0
    counts = _steps(column, top, run, block=block, size=size) - _steps(column, bottom, run, block=block, size=size)
    return Drawing(windows, starts, counts.cumsum()[:-1] >= block)


def _steps(column: Integers, edge: Integers, run: Integers, *, block: int, size: int) -> Integers:
    """(size + 1,) how many positions more of a block are set from a pixel on, for runs that begin at the edges."""
    steps = (edge + np.arange(block)[:, None]) // block
    return np.bincount((steps[:, run] + column).ravel(), minlength=size + 1)


def _windows(masks: ShownRuns, block: int) -> Integers:
    """(N, 4) windows around the runs of each mask, in blocks; zeros where there is none."""
    num_masks, mask, left, right, top, bottom = masks
    windows = np.zeros((num_masks, 4), np.int64)
    firsts = mask.searchsorted(np.arange(num_masks + 1))
    filled = (firsts[1:] > firsts[:-1]).nonzero()[0]
    if len(filled):
        firsts = firsts[filled]
        lowest = [np.minimum.reduceat(values, firsts) // block for values in (left, top)]
        highest = [-(-np.maximum.reduceat(values, firsts) // block) for values in (right, bottom)]
        windows[filled] = np.stack([*lowest, *highest], axis=1)
    return windows


def _span(edges: Integers, starts: Integers, ends: Integers) -> tuple[Integers, Integers]:
    """Positions that show spans of the source: the first of each, and the one after the last."""
    ones, others = edges[starts], edges[ends]
    return (ones, others) if edges[0] <= edges[-1] else (others, ones)


def _without_empty(masks: ShownRuns) -> ShownRuns:
    kept = (masks.right > masks.left) & (masks.bottom > masks.top)
    return masks if kept.all() else ShownRuns(masks.num_masks, *(values[kept] for values in masks[1:]))
