"""Masks as runs of set pixels that go down one column each: one flat table for all objects of an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


class ColumnRuns(NamedTuple):
    """The runs of N masks of one size.

    Attributes:
        height: Height of the masks in pixels.
        width: Width of the masks in pixels.
        num_masks: N.
        mask: (R,) mask of each run, ascending.
        column: (R,) its column.
        rows: (2, R) its first row, and the row after it, the same for a run of no pixel; runs of one mask have no pixel
            in common.
    """

    height: int
    width: int
    num_masks: int
    mask: Integers
    column: Integers
    rows: Integers

    def of(self, masks: Integers) -> ColumnRuns:
        """The runs of some of the masks, in the given order."""
        firsts = self.mask.searchsorted(np.arange(self.num_masks + 1))
        counts = np.diff(firsts)[masks]
        runs = ranges(firsts[masks], counts)
        return self._replace(
            num_masks=len(masks),
            mask=np.arange(len(masks)).repeat(counts),
            column=self.column[runs],
            rows=self.rows[:, runs],
        )


def merge_runs(parts: Sequence[tuple[ColumnRuns, Sequence[int]]], *, num_masks: int) -> ColumnRuns:
    """One table of several, at least one, for masks of one size: each with the mask that each of its masks becomes."""
    first = parts[0][0]
    mask = np.concatenate([np.array(positions, np.int64)[runs.mask] for runs, positions in parts])
    order = mask.argsort(kind="stable")
    column = np.concatenate([runs.column for runs, _ in parts])[order]
    rows = np.concatenate([runs.rows for runs, _ in parts], axis=1)[:, order]
    return ColumnRuns(first.height, first.width, num_masks, mask[order], column, rows)


def runs_of_bitmaps(parts: Sequence[tuple[int, int, npt.NDArray[Any]]], *, height: int, width: int) -> ColumnRuns:
    """The runs of masks of which a part is given, and the rest is background.

    Args:
        parts: Of each mask the column and row at which its part begins, and the part (H, W), in which everything but 0
            is set.
        height: Height of the masks in pixels.
        width: Width of the masks in pixels.
    """
    edges = [_edges_of_bitmap(bitmap, left=left, top=top) for left, top, bitmap in parts]
    column, row = np.concatenate([np.zeros((2, 0), np.int64), *edges], axis=1)
    mask = np.arange(len(parts)).repeat([found.shape[1] // 2 for found in edges])
    return ColumnRuns(height, width, len(parts), mask, column[0::2], row.reshape(-1, 2).T)


def _edges_of_bitmap(bitmap: npt.NDArray[Any], *, left: int, top: int) -> Integers:
    """(2, E) column and row of each change: of the first pixel of a run and of the one after it by turns."""
    framed = np.zeros((bitmap.shape[1], bitmap.shape[0] + 2), np.bool_)
    framed[:, 1:-1] = bitmap.T
    # Every column of the frame begins and ends with background, so its changes are a start and an end by turns.
    column, row = np.nonzero(framed[:, 1:] != framed[:, :-1])
    return np.stack([left + column, top + row])


def ranges(starts: Integers, lengths: Integers) -> Integers:
    """The integers from each start on, as many as its length, in a row."""
    before = lengths.cumsum() - lengths
    return np.arange(lengths.sum()) + (starts - before).repeat(lengths)


def areas_of_runs(runs: ColumnRuns) -> Integers:
    """(N,) pixels of each mask."""
    return np.bincount(runs.mask, weights=runs.rows[1] - runs.rows[0], minlength=runs.num_masks).astype(np.int64)


def boxes_of_runs(runs: ColumnRuns) -> npt.NDArray[np.float64]:
    """(N, 4) tightest boxes x1 y1 x2 y2 in pixels, x2 and y2 exclusive; zeros for a mask without pixels."""
    boxes = np.zeros((runs.num_masks, 4))
    has_pixels = runs.rows[1] > runs.rows[0]  # (R,)
    mask, column, rows = runs.mask[has_pixels], runs.column[has_pixels], runs.rows[:, has_pixels]
    found, first = np.unique(mask, return_index=True)  # masks are ascending, so each is one slice
    if len(found):
        boxes[found, 0] = np.minimum.reduceat(column, first)
        boxes[found, 1] = np.minimum.reduceat(rows[0], first)
        boxes[found, 2] = np.maximum.reduceat(column, first) + 1
        boxes[found, 3] = np.maximum.reduceat(rows[1], first)
    return boxes
