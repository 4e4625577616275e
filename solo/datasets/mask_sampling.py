"""Masks seen through an index map of rows and one of columns: pixel counts, sums, and samples, from their runs alone.

Resizing to the nearest pixel, flipping, cropping and padding all are such maps, and so is any sequence of them: the
row of the source that a row shows, and likewise for columns. A transformed mask thus is never drawn to be measured,
and drawn only where it is looked at.
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
    """The runs of N masks of one size in a row, cut at the ends of columns, and where to find those of a column.

    Column `first[i] + k` of mask i has the slot `s = slot[i] + k`, and the runs `slot_offsets[s]:slot_offsets[s + 1]`.

    Attributes:
        height: Height of the masks in pixels.
        width: Width of the masks in pixels.
        columns: (R,) column of each run.
        rows: (2, R) first row of each run, and the row after it.
        offsets: (N + 1,) first run of each mask.
        first: (N,) first column in which a mask has pixels.
        extent: (N,) columns from there to the last such one; 0 for a mask without pixels.
        slot: (N,) slot of the first column.
        slot_offsets: (slots + 1,) first run of each slot; the last slot has none.
    """

    height: int
    width: int
    columns: Integers
    rows: Integers
    offsets: Integers
    first: Integers
    extent: Integers
    slot: Integers
    slot_offsets: Integers


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
    first, after = starts // height, (ends - 1) // height + 1
    pieces = after - first
    columns = _ranges(first, after)
    rows = np.stack([starts.repeat(pieces), ends.repeat(pieces)]) - columns * height
    of_mask = np.arange(len(masks)).repeat([len(mask.starts) for mask in masks]).repeat(pieces)
    offsets = _cumulative(np.bincount(of_mask, minlength=len(masks)))

    filled = np.flatnonzero(offsets[1:] > offsets[:-1])
    left, extent = np.zeros((2, len(masks)), np.int64)
    left[filled] = columns[offsets[filled]]
    extent[filled] = columns[offsets[filled + 1] - 1] + 1 - left[filled]
    slot = _cumulative(extent)
    # One more slot than there are columns: it stays empty.
    per_slot = np.bincount((slot[:-1] - left)[of_mask] + columns, minlength=slot[-1] + 1)
    return ColumnRuns(
        height=height,
        width=width,
        columns=columns,
        rows=rows.clip(0, height),
        offsets=offsets,
        first=left,
        extent=extent,
        slot=slot[:-1],
        slot_offsets=_cumulative(per_slot),
    )


def measure(masks: ColumnRuns, frame: Frame) -> Mass:
    """Count and sum up the pixels of the masks as the frame shows them.

    A source pixel counts as often as the frame shows it, which is the product of how often it shows its row and its
    column. What a run adds is thus a product of its column's number and a difference of two cumulative sums.
    """
    rows, row_sums = _multiplicities(frame.rows, masks.height)
    columns, column_sums = _multiplicities(frame.columns, masks.width)
    (top, bottom), (top_sums, bottom_sums) = _cumulative(rows)[masks.rows], _cumulative(row_sums)[masks.rows]
    times = columns[masks.columns]
    pixels, y_sums = times * (bottom - top), times * (bottom_sums - top_sums)
    x_sums = column_sums[masks.columns] * (bottom - top)
    totals = np.zeros((3, len(masks.columns) + 1), np.int64)
    np.cumsum([pixels, x_sums, y_sums], axis=1, out=totals[:, 1:])
    return Mass(*(totals[:, masks.offsets[1:]] - totals[:, masks.offsets[:-1]]))


def windows(masks: ColumnRuns, frame: Frame, *, block: int = 1) -> Integers:
    """Windows that hold all that a frame shows of the masks; not always the tightest.

    Args:
        masks: N masks.
        frame: The frame; its sides are multiples of `block`.
        block: Side of the square blocks of rows and columns in which the windows are given.

    Returns:
        (N, 4) x1 y1 x2 y2 in blocks, x2 and y2 exclusive; zeros when nothing is shown.
    """
    filled = np.flatnonzero(masks.extent)
    found = np.zeros((len(masks.extent), 4), np.int64)
    if len(filled):
        starts = masks.offsets[filled]
        sides = np.stack([masks.first[filled], masks.first[filled] + masks.extent[filled]])
        heights = np.stack([np.minimum.reduceat(masks.rows[0], starts), np.maximum.reduceat(masks.rows[1], starts)])
        x1, x2 = _shown(frame.columns, sides, masks.width)
        y1, y2 = _shown(frame.rows, heights, masks.height)
        edges = np.stack([x1 // block, y1 // block, -(-x2 // block), -(-y2 // block)], axis=1)
        found[filled] = edges * ((x1 < x2) & (y1 < y2))[:, None]
    return found


def sample(masks: ColumnRuns, frame: Frame, cuts: Integers, *, shown: Integers) -> npt.NDArray[np.bool_]:
    """Draw what a frame shows of the masks, cut to windows.

    Args:
        masks: N masks.
        frame: The frame; its columns may be in any order here.
        cuts: (V, 4) windows x1 y1 x2 y2 inside the frame.
        shown: (V,) position in `masks` of the mask that each window shows.

    Returns:
        The pixels of all windows in a row, each window column by column.
    """
    x1, y1, x2, y2 = cuts.T

    # One entry a column of a window from here on.
    widths = x2 - x1
    of_mask = shown.repeat(widths)
    place = frame.columns[_ranges(x1, x2)] - masks.first[of_mask]
    is_inside = (place >= 0) & (place < masks.extent[of_mask])
    slot = np.where(is_inside, masks.slot[of_mask] + place, len(masks.slot_offsets) - 2)
    first_run, after_run = masks.slot_offsets[slot], masks.slot_offsets[slot + 1]
    top, bottom = y1.repeat(widths), y2.repeat(widths)
    column_starts = _cumulative(bottom - top)

    # One entry a run in such a column from here on. The ends of the runs ascend over all of them.
    run, num_runs = _ranges(first_run, after_run), after_run - first_run
    if _descends(frame.rows):
        run = (first_run + after_run - 1).repeat(num_runs) - run
    edges = _shown(frame.rows, masks.rows[:, run], masks.height)
    edges = edges.clip(top.repeat(num_runs), bottom.repeat(num_runs))
    edges += (column_starts[:-1] - top).repeat(num_runs)
    lengths = np.diff(edges.T.ravel(), prepend=0, append=column_starts[-1])
    is_set = np.zeros(len(lengths), np.bool_)
    is_set[1::2] = True
    return is_set.repeat(lengths)


def _shown(index: Integers, spans: Integers, size: int) -> Integers:
    """First position of a frame that shows one of a span of source positions, and the one after the last.

    Args:
        index: Source position of each position of the frame, ascending or descending.
        spans: (2, L) first source position of each span, and the one after it.
        size: How many source positions there are.

    Returns:
        (2, L) as the spans; the two are equal when none is shown.
    """
    shown = np.flatnonzero(index >= 0)
    if not len(shown):
        return np.zeros_like(spans)
    source = index[shown]
    if _descends(index):
        source, spans = size - 1 - source, size - spans[::-1]
    return shown[0] + np.searchsorted(source, np.arange(size + 1))[spans]


def _descends(index: Integers) -> bool:
    source = index[index >= 0]
    return len(source) > 0 and bool(source[0] > source[-1])


def _multiplicities(index: Integers, size: int) -> tuple[Integers, Integers]:
    """How often each of `size` source positions is shown, and the sum of the positions at which it is."""
    shown = np.flatnonzero(index >= 0)
    source = index[shown]
    # A float holds these integers exactly: they stay far below 2**53.
    sums = np.bincount(source, weights=shown, minlength=size).astype(np.int64)
    return np.bincount(source, minlength=size), sums


def _cumulative(values: Integers) -> Integers:
    """(L + 1,) sums of the first 0, 1, ..., L values."""
    sums = np.zeros(len(values) + 1, np.int64)
    np.cumsum(values, out=sums[1:])
    return sums


def _ranges(starts: Integers, ends: Integers) -> Integers:
    """The integers of [start, end) of all pairs in a row."""
    lengths = ends - starts
    before = _cumulative(lengths)
    return np.arange(before[-1]) + (starts - before[:-1]).repeat(lengths)
