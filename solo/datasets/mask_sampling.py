"""Masks seen through an index map of rows and one of columns: pixel counts, sums and drawings, from their runs alone.

Resizing to the nearest pixel, flipping, cropping and padding all are such maps, and so is any sequence of them: the
row of the source that a row shows, and likewise for columns. A transformed mask thus is never drawn to be measured,
and drawn only at the pixels that are wanted. Such a map shows any span of its source as a span again, so all it says
is where the edges between the source's positions come to lie (`edges`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from solo.datasets.run_lengths import Integers, RunLengths

OUTSIDE = -1
"""Index of a row or column that shows nothing of the source: background."""


class Frame(NamedTuple):
    """What of a source its transformed image shows.

    Attributes:
        rows: (H,) source row of each row, ascending or descending; or OUTSIDE at the ends.
        columns: (W,) source column of each column, likewise.
    """

    rows: Integers
    columns: Integers


class ColumnRuns(NamedTuple):
    """The runs of N masks of one size in a row, cut at the ends of columns.

    Attributes:
        height: Height of the masks in pixels.
        width: Width of the masks in pixels.
        num_masks: N.
        mask: (R,) mask of each run, ascending.
        column: (R,) its column, ascending within a mask.
        top: (R,) its first row.
        bottom: (R,) the row after it.
    """

    height: int
    width: int
    num_masks: int
    mask: Integers
    column: Integers
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


def cut_at_columns(masks: Sequence[RunLengths]) -> ColumnRuns:
    """Put the runs of masks of one size in a row, cut at the ends of columns.

    Raises:
        ValueError: No mask, or masks of different sizes.
    """
    sizes = {(mask.height, mask.width) for mask in masks}
    if len(sizes) != 1:
        raise ValueError(f"expected masks of one size, at least one; got the sizes {sorted(sizes)}")
    ((height, width),) = sizes
    starts, ends = (np.concatenate([mask[field] for mask in masks]) for field in (2, 3))
    of_mask = np.arange(len(masks)).repeat([len(mask.starts) for mask in masks])
    column = starts // height
    pieces = (ends - 1) // height - column + 1
    if (pieces > 1).any():
        column = _ranges(column, column + pieces)
        starts, ends, of_mask = starts.repeat(pieces), ends.repeat(pieces), of_mask.repeat(pieces)
    above = column * height
    return ColumnRuns(
        height=height,
        width=width,
        num_masks=len(masks),
        mask=of_mask,
        column=column,
        top=np.maximum(starts - above, 0),
        bottom=np.minimum(ends - above, height),
    )


def edges(index: Integers, size: int) -> Integers:
    """Where an index map shows the edges of source positions: span [p, q) of the source is shown from one to the other.

    Args:
        index: Source position of each position, ascending or descending; or OUTSIDE at the ends.
        size: How many source positions there are.

    Returns:
        (size + 1,) ascending or descending as the map.
    """
    is_shown = index >= 0
    source = index[is_shown]
    before = _cumulative(np.bincount(source, minlength=size))
    if len(source) and source[0] > source[-1]:
        before = len(source) - before
    return before + is_shown.argmax() if len(source) else before


def measure(masks: ColumnRuns, rows: Integers, columns: Integers) -> Mass:
    """Count and sum up the pixels of the masks as they are shown.

    Args:
        masks: N masks.
        rows: (height + 1,) `edges` of the rows.
        columns: (width + 1,) `edges` of the columns.
    """
    (left, right), (top, bottom) = (
        _shown(columns, masks.column, masks.column + 1),
        _shown(rows, masks.top, masks.bottom),
    )
    pixels = (right - left) * (bottom - top)

    def total(values: Integers) -> Integers:
        # A float holds these integers exactly: they stay far below 2**53.
        return np.bincount(masks.mask, weights=values, minlength=masks.num_masks).astype(np.int64)

    # The mean position of a span is half of its first plus its last one.
    return Mass(total(pixels), total(pixels * (left + right - 1)) // 2, total(pixels * (top + bottom - 1)) // 2)


def draw(masks: ColumnRuns, rows: Integers, columns: Integers, *, block: int = 1) -> Drawing:
    """Draw the masks as they are shown, or shrunk.

    A pixel of the drawing is a block of positions, and is set when at least `block` of its `block` ** 2 are.

    Args:
        masks: N masks.
        rows: (height + 1,) `edges` of the rows.
        columns: (width + 1,) `edges` of the columns.
        block: Side of the blocks.

    Returns:
        The masks in tight windows: no side of them could be moved inwards but for blocks that are not set.
    """
    (first, after), (top, bottom) = (
        _shown(columns, masks.column, masks.column + 1),
        _shown(rows, masks.top, masks.bottom),
    )
    # One entry for each position that shows the column of a run, from here on.
    times = (after - first) * (bottom > top)
    x = _ranges(first, first + times) // block
    mask, top, bottom = masks.mask.repeat(times), top.repeat(times), bottom.repeat(times)
    windows = _windows(mask, x, top // block, -(-bottom // block), num_masks=masks.num_masks)
    heights = windows[:, 3] - windows[:, 1]
    ends = ((windows[:, 2] - windows[:, 0]) * heights).cumsum()
    starts = np.concatenate([[0], ends[:-1]])
    # Each position of a run counts in the pixel of its block: the pixels' counts are sums of steps up and down.
    column = (starts - windows[:, 0] * heights - windows[:, 1])[mask] + x * heights[mask]
    counts = _steps(column, top, block, size=int(ends[-1])) - _steps(column, bottom, block, size=int(ends[-1]))
    return Drawing(windows, starts, counts.cumsum()[:-1] >= block)


def _steps(column: Integers, edge: Integers, block: int, *, size: int) -> Integers:
    """(size + 1,) how many positions more of a block are set from a pixel on, for runs that begin at the edges."""
    return np.bincount(np.concatenate([column + (edge + i) // block for i in range(block)]), minlength=size + 1)


def _windows(mask: Integers, x: Integers, top: Integers, bottom: Integers, *, num_masks: int) -> Integers:
    """(N, 4) windows around the runs of each mask; zeros where there is none."""
    counts = np.bincount(mask, minlength=num_masks)
    filled = np.flatnonzero(counts)
    found = np.zeros((num_masks, 4), np.int64)
    if len(filled):
        starts = (counts.cumsum() - counts)[filled]
        found[filled, 0], found[filled, 2] = np.minimum.reduceat(x, starts), np.maximum.reduceat(x, starts) + 1
        found[filled, 1], found[filled, 3] = np.minimum.reduceat(top, starts), np.maximum.reduceat(bottom, starts)
    return found


def _shown(edges: Integers, starts: Integers, ends: Integers) -> tuple[Integers, Integers]:
    """Positions that show spans of the source: the first of each, and the one after the last."""
    ones, others = edges[starts], edges[ends]
    return (ones, others) if edges[0] <= edges[-1] else (others, ones)


def _cumulative(values: Integers) -> Integers:
    """(L + 1,) sums of the first 0, 1, ..., L values."""
    sums = np.zeros(len(values) + 1, np.int64)
    np.cumsum(values, out=sums[1:])
    return sums


def _ranges(starts: Integers, ends: Integers) -> Integers:
    """The integers of [start, end) of all pairs in a row."""
    lengths = ends - starts
    before = lengths.cumsum() - lengths
    return np.arange(lengths.sum()) + (starts - before).repeat(lengths)
