"""Masks in COCO's run lengths: counts of background and object by turns, column by column, as numbers or as text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from solo.datasets.column_runs import ColumnRuns, Integers, ranges

_LONGEST_NUMBER = 12  # digits of five bits: 60 bits


def runs_of_counts(counts: Sequence[Integers], *, height: int, width: int) -> ColumnRuns:
    """The runs of N masks of (height, width) pixels.

    Args:
        counts: Of each mask (K, 2) lengths of background and of object by turns; a last one of background is followed
            by an object of length 0.
        height: Height of the masks in pixels.
        width: Width of the masks in pixels.

    Raises:
        ValueError: A count is negative, or those of a mask do not sum up to its size.
    """
    lengths = np.concatenate([np.zeros((0, 2), np.int64), *counts])
    # The masks follow each other as one of many columns: each takes up its size exactly.
    ends = lengths.sum(axis=1).cumsum()
    mask_ends = np.cumsum([len(of_mask) for of_mask in counts], dtype=np.int64)
    sizes = np.arange(1, len(counts) + 1) * (height * width)
    if (lengths < 0).any() or not all(map(len, counts)) or (ends[mask_ends - 1] != sizes).any():
        raise ValueError(f"the counts of the RLE must be lengths that sum up to {height} x {width} pixels")
    kept = lengths[:, 1] > 0
    ends = ends[kept]
    return _cut_at_columns(ends - lengths[kept, 1], ends, height=height, width=width, num_masks=len(counts))


def _cut_at_columns(starts: Integers, ends: Integers, *, height: int, width: int, num_masks: int) -> ColumnRuns:
    """The runs of masks that follow each other, their pixels numbered column by column, cut where columns end."""
    column = starts // height
    pieces = (ends - 1) // height - column + 1
    if len(starts) and pieces.max() > 1:
        column = ranges(column, pieces)
        starts, ends = starts.repeat(pieces), ends.repeat(pieces)
    above = column * height
    mask = column // width
    top, bottom = np.maximum(starts - above, 0), np.minimum(ends - above, height)
    return ColumnRuns(height, width, num_masks, mask, column - mask * width, top, bottom)


def pair_counts(counts: Sequence[int]) -> Integers:
    """Counts of one mask as `runs_of_counts` takes them."""
    padded = np.zeros((-(-len(counts) // 2), 2), np.int64)
    padded.ravel()[: len(counts)] = counts
    return padded


def decode_counts(encoded: Sequence[bytes]) -> list[Integers]:
    """The counts of compressed RLEs, as `runs_of_counts` takes them.

    They are signed base-32 numbers, from the fourth on relative to the one two before. All texts are read at once, as
    an image has many short ones. `rleFrString` of pycocotools' `maskApi.c` is the source; it reads past the size of the
    mask, and so does this: the numbers are the caller's to check.

    Raises:
        ValueError: A character that is no digit, or a text that ends inside a number.
    """
    digits = np.frombuffer(b"".join(encoded), np.uint8).astype(np.int64) - 48
    last = (digits < 32).nonzero()[0]
    text_ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
    if len(digits) and (digits.min() < 0 or digits.max() >= 64):
        raise ValueError("the text of the RLE holds a character that is no digit")
    if len(digits) and (digits[text_ends[text_ends > 0] - 1] >= 32).any():
        raise ValueError("the text of the RLE ends inside a number")
    return _absolute(_numbers(digits, last), np.diff(last.searchsorted(text_ends), prepend=0))


def _numbers(digits: Integers, last: Integers) -> Integers:
    """The signed numbers, of which the positions of the last digits are given."""
    if not len(last):
        return last
    first = np.concatenate([[0], last[:-1] + 1])
    num_digits = last - first + 1
    if num_digits.max() > _LONGEST_NUMBER:
        raise ValueError("the text of the RLE holds a number beyond every image")
    shifts = 5 * (np.arange(len(digits)) - first.repeat(num_digits))
    numbers: Integers = np.add.reduceat((digits & 31) << shifts, first)
    return numbers - ((digits[last] >> 4 & 1) << 5 * num_digits)


def _absolute(numbers: Integers, lengths: Integers) -> list[Integers]:
    """The counts (K, 2) of each text, of all of which the numbers are given in a row."""
    num_pairs = (lengths + 1) // 2
    ends = num_pairs.cumsum()
    first = ends - num_pairs
    is_odd = lengths % 2
    pairs = np.zeros((num_pairs.sum(), 2), np.int64)
    pairs.ravel()[np.arange(len(numbers)) + (is_odd.cumsum() - is_odd).repeat(lengths)] = numbers
    # The first number, unlike the second, is none that a later one is relative to.
    first_of_many = first[num_pairs > 1]
    pairs[first_of_many + 1, 0] -= pairs[first_of_many, 0]
    sums = np.concatenate([np.zeros((1, 2), np.int64), pairs.cumsum(axis=0)])
    counts = sums[1:] - sums[first].repeat(num_pairs, axis=0)
    counts[ends[is_odd > 0] - 1, 1] = 0
    return [counts[start:end] for start, end in pairwise([0, *ends.tolist()])]
