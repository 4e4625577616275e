"""Masks in COCO's run lengths: counts of background and object by turns, column by column, as numbers or as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from solo.masks.column_runs import ColumnRuns, Integers, ranges

_LONGEST_NUMBER = 12  # digits of five bits: 60 bits


class Counts(NamedTuple):
    """The counts of N masks.

    Attributes:
        pairs: (K, 2) lengths of background and of object by turns, of all masks in a row. A last one of background is
            followed by an object of length 0.
        ends: (N,) where the pairs of each mask end.
    """

    pairs: Integers
    ends: Integers


def runs_of_counts(counts: Counts, *, height: int, width: int) -> ColumnRuns:
    """The runs of N masks of (height, width) pixels.

    Raises:
        ValueError: A count is negative, or those of a mask do not sum up to its size.
    """
    pairs, mask_ends = counts
    # The masks follow each other as one of many columns: each takes up its size exactly.
    ends = np.concatenate([np.zeros(1, np.int64), pairs.sum(axis=1).cumsum()])
    sizes = np.arange(1, len(mask_ends) + 1) * (height * width)
    if pairs.min(initial=0) < 0 or (ends[mask_ends] != sizes).any():
        raise ValueError(f"the counts of the RLE must be lengths that sum up to {height} x {width} pixels")
    kept = pairs[:, 1] > 0
    ends = ends[1:][kept]
    return _cut_at_columns(ends - pairs[kept, 1], ends, height=height, width=width, num_masks=len(mask_ends))


def _cut_at_columns(starts: Integers, ends: Integers, *, height: int, width: int, num_masks: int) -> ColumnRuns:
    """The runs of masks that follow each other, their pixels numbered column by column, cut where columns end."""
    column = starts // height
    pieces = (ends - 1) // height - column + 1
    if pieces.max(initial=1) > 1:
        column = ranges(column, pieces)
        starts, ends = starts.repeat(pieces), ends.repeat(pieces)
    above = column * height
    mask = column // width
    rows = np.array([np.maximum(starts - above, 0), np.minimum(ends - above, height)])
    return ColumnRuns(height, width, num_masks, mask, column - mask * width, rows)


def pair_counts(counts: Sequence[Sequence[int]]) -> Counts:
    """The counts of N masks as they stand in a file, without compression."""
    padded = [[*of_mask, 0] if len(of_mask) % 2 else of_mask for of_mask in counts]
    pairs = np.concatenate([np.zeros((0, 2), np.int64), *(np.array(p, np.int64).reshape(-1, 2) for p in padded)])
    return Counts(pairs, np.cumsum([len(of_mask) // 2 for of_mask in padded], dtype=np.int64))


def decode_counts(encoded: Sequence[bytes]) -> Counts:
    """The counts of compressed RLEs: signed base-32 numbers, from the fourth on relative to the one two before.

    All texts are read at once, as an image has many short ones. `rleFrString` of pycocotools' `maskApi.c` is the
    source; it reads past the size of the mask, and so does this: the numbers are the caller's to check.

    Raises:
        ValueError: A character that is no digit, or a text that ends inside a number.
    """
    digits = np.frombuffer(b"".join(encoded), np.uint8) - np.uint8(48)
    # What comes before the first digit has become larger than all of them.
    if digits.max(initial=0) >= 64:
        raise ValueError("the text of the RLE holds a character that is no digit")
    text_ends = np.array([len(text) for text in encoded], np.int64).cumsum()
    if len(digits) and digits[text_ends - 1].max() >= 32:
        raise ValueError("the text of the RLE ends inside a number")
    last = (digits < 32).nonzero()[0]
    return _absolute(_numbers(digits.astype(np.int64), last), last.searchsorted(text_ends))


def _numbers(digits: Integers, last: Integers) -> Integers:
    """The signed numbers, of which the positions of the last digits are given."""
    if not len(last):
        return last
    first = np.concatenate([np.zeros(1, np.int64), last[:-1] + 1])
    num_digits = last - first + 1
    if num_digits.max() > _LONGEST_NUMBER:
        raise ValueError("the text of the RLE holds a number beyond every image")
    shifts = 5 * (np.arange(len(digits)) - first.repeat(num_digits))
    numbers: Integers = np.add.reduceat((digits & 31) << shifts, first)
    return numbers - ((digits[last] >> 4 & 1) << 5 * num_digits)


def _absolute(numbers: Integers, number_ends: Integers) -> Counts:
    """The counts of texts, of all of which the numbers are given in a row."""
    lengths = number_ends.copy()
    lengths[1:] -= number_ends[:-1]
    is_odd = lengths & 1
    num_pairs = (lengths + is_odd) >> 1
    ends = num_pairs.cumsum()
    first = ends - num_pairs
    pairs = np.zeros((num_pairs.sum(), 2), np.int64)
    pairs.ravel()[np.arange(len(numbers)) + (is_odd.cumsum() - is_odd).repeat(lengths)] = numbers
    # The first number, unlike the second, is none that a later one is relative to.
    first_of_many = first[num_pairs > 1]
    pairs[first_of_many + 1, 0] -= pairs[first_of_many, 0]
    sums = np.concatenate([np.zeros((1, 2), np.int64), pairs.cumsum(axis=0)])
    counts = sums[1:] - sums[first].repeat(num_pairs, axis=0)
    counts[ends[is_odd > 0] - 1, 1] = 0
    return Counts(counts, ends)
