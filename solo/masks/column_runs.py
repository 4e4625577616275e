"""Masks as vertical runs of set pixels: one flat table for all objects of an image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


class ColumnRuns(NamedTuple):
    """The runs of N masks of one size.

    Runs of one mask do not overlap; one whose two rows are equal has no pixel.
    """

    height: int  # of the masks, pixels
    width: int
    num_masks: int  # N
    mask: Integers  # (R,) of each run, ascending
    column: Integers  # (R,)
    rows: Integers  # (2, R) first row and the row after the last one

    def select(self, masks: Integers) -> ColumnRuns:
        """Select masks by their indices (M,), in any order and with repetitions."""
        firsts = self.mask.searchsorted(np.arange(self.num_masks + 1))  # (N + 1,)
        counts = np.diff(firsts)[masks]  # (M,)
        runs = ranges(firsts[masks], counts)  # (R',)
        return self._replace(
            num_masks=len(masks),
            mask=np.arange(len(masks)).repeat(counts),
            column=self.column[runs],
            rows=self.rows[:, runs],
        )

    def areas(self) -> Integers:
        """Count the pixels of each mask: (N,)."""
        return reduce_by_mask(np.add, (self.rows[1] - self.rows[0])[None], self.mask, num_masks=self.num_masks)[0]

    def tight_boxes(self) -> Integers:
        """Tightest boxes (N, 4) x1 y1 x2 y2 in pixels, x2 and y2 exclusive; zeros for a mask without pixels."""
        kept = (self.rows[0] < self.rows[1]).nonzero()[0]
        column, (top, bottom) = self.column[kept], self.rows[:, kept]
        return bounding_boxes(column, top, column + 1, bottom, mask=self.mask[kept], num_masks=self.num_masks)


def merge_runs(parts: Sequence[tuple[ColumnRuns, Sequence[int]]], *, num_masks: int) -> ColumnRuns:
    """Merge at least one table of masks of one size, each given with the indices that its masks get in the result."""
    first = parts[0][0]
    mask = np.concatenate([np.array(indices, np.int64)[runs.mask] for runs, indices in parts])
    order = mask.argsort(kind="stable")
    column = np.concatenate([runs.column for runs, _ in parts])[order]
    rows = np.concatenate([runs.rows for runs, _ in parts], axis=1)[:, order]
    return ColumnRuns(first.height, first.width, num_masks, mask[order], column, rows)


def runs_from_bitmaps(parts: Iterable[tuple[int, int, npt.NDArray[Any]]], *, height: int, width: int) -> ColumnRuns:
    """Find the runs of masks that are given by windows; everything outside the windows is background.

    Args:
        parts: For each mask the left column and top row of its window and the window's pixels (h, w), in which
            everything but 0 is set.
        height: Of the masks, in pixels.
        width: Likewise.
    """
    edges = [_find_edges(bitmap, left=left, top=top) for left, top, bitmap in parts]
    column, row = np.concatenate([np.zeros((2, 0), np.int64), *edges], axis=1)  # (2 R,) each
    mask = np.arange(len(edges)).repeat([found.shape[1] // 2 for found in edges])  # (R,)
    return ColumnRuns(height, width, len(edges), mask, column[0::2], row.reshape(-1, 2).T)


def _find_edges(bitmap: npt.NDArray[Any], *, left: int, top: int) -> Integers:
    """(2, 2 R) column and row of every run's first pixel and, alternating with it, of the pixel after its last."""
    length = bitmap.shape[0] + 2
    padded = np.zeros((bitmap.shape[1], length), np.bool_)  # (w, h + 2)
    padded[:, 1:-1] = bitmap.T
    # Every padded column starts and ends with background: all columns are one line, whose changes are a start and an
    # end in turn. Finding them in a line is several times as fast as in a table.
    line = padded.ravel()
    column, row = np.divmod(np.flatnonzero(line[1:] != line[:-1]), length)
    return np.stack([left + column, top + row])


def ranges(starts: Integers, lengths: Integers) -> Integers:
    """Concatenate the ranges [start, start + length): (sum of lengths,)."""
    before = lengths.cumsum() - lengths
    return np.arange(lengths.sum()) + (starts - before).repeat(lengths)


def reduce_by_mask(ufunc: np.ufunc, values: Integers, mask: Integers, *, num_masks: int) -> Integers:
    """Reduce the values (V, R) of the runs of each mask: (V, N), 0 for a mask without runs."""
    firsts = mask.searchsorted(np.arange(num_masks + 1))  # (N + 1,)
    filled = (firsts[:-1] < firsts[1:]).nonzero()[0]
    reduced = np.zeros((len(values), num_masks), np.int64)
    if len(filled):  # reduceat gives the value at the index, not the identity, for an empty slice
        reduced[:, filled] = ufunc.reduceat(values, firsts[filled], axis=1)
    return reduced


def bounding_boxes(
    left: Integers, top: Integers, right: Integers, bottom: Integers, *, mask: Integers, num_masks: int
) -> Integers:
    """Enclose the rectangles (R,) of each mask: (N, 4) x1 y1 x2 y2, zeros for a mask without rectangles."""
    boxes = reduce_by_mask(np.minimum, np.array([left, top, -right, -bottom]), mask, num_masks=num_masks)  # (4, N)
    np.negative(boxes[2:], out=boxes[2:])
    return np.ascontiguousarray(boxes.T)
