"""Decodes COCO's run-length encoding: counts of background and object pixels in turn, column by column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from solo.masks.column_runs import ColumnRuns, Integers, ranges

_MAX_DIGITS = 12  # of five bits: 60 bits


class Counts(NamedTuple):
    """The counts of N masks.

    Attributes:
        pairs: (K, 2) lengths of a background run and of the object run after it, for all masks in a row. A final
            background run is followed by an object run of length 0.
        ends: (N,) index in `pairs` at which each mask ends.
    """

    pairs: Integers
    ends: Integers


def runs_from_counts(counts: Counts, *, height: int, width: int) -> ColumnRuns:
    """Convert the counts of N masks of (height, width) pixels to column runs, all of at least one pixel.

    Raises:
        ValueError: A count is negative, or those of a mask do not sum up to its size.
    """
    pairs, mask_ends = counts
    # One axis for all masks: each takes up exactly height * width of its positions.
    ends = np.concatenate([np.zeros(1, np.int64), pairs.sum(axis=1).cumsum()])  # (K + 1,)
    sizes = np.arange(1, len(mask_ends) + 1) * (height * width)  # (N,)
    if pairs.min(initial=0) < 0 or (ends[mask_ends] != sizes).any():
        raise ValueError(f"the counts of the RLE must be lengths that sum up to {height} x {width} pixels")
    kept = pairs[:, 1] > 0
    ends = ends[1:][kept]
    return _split_at_columns(ends - pairs[kept, 1], ends, height=height, width=width, num_masks=len(mask_ends))


def _split_at_columns(starts: Integers, ends: Integers, *, height: int, width: int, num_masks: int) -> ColumnRuns:
    """Split the spans [start, end) of column-major pixel positions, over all masks in a row, where columns end."""
    column = starts // height
    pieces = (ends - 1) // height - column + 1  # (spans,) columns that each touches
    if pieces.max(initial=1) > 1:
        column = ranges(column, pieces)  # (R,)
        starts, ends = starts.repeat(pieces), ends.repeat(pieces)
    above = column * height
    mask = column // width
    rows = np.array([np.maximum(starts - above, 0), np.minimum(ends - above, height)])  # (2, R)
    return ColumnRuns(height, width, num_masks, mask, column - mask * width, rows)


def pair_counts(counts: Sequence[Sequence[int]]) -> Counts:
    """Arrange the uncompressed counts of N masks."""
    padded = [[*of_mask, 0] if len(of_mask) % 2 else of_mask for of_mask in counts]
    pairs = np.concatenate([np.zeros((0, 2), np.int64), *(np.array(p, np.int64).reshape(-1, 2) for p in padded)])
    return Counts(pairs, np.cumsum([len(of_mask) // 2 for of_mask in padded], dtype=np.int64))


def decode_counts(encoded: Sequence[bytes]) -> Counts:
    """Decode compressed counts: signed base-32 numbers, from the fourth on relative to the one two before.

    All texts are decoded at once, as an image has many short ones. Equal to `rleFrString` of pycocotools' maskApi.c,
    which reads past the size of the mask as this does: the caller checks the sum.

    Raises:
        ValueError: A character is no digit, or a text ends inside a number.
    """
    digits = np.frombuffer(b"".join(encoded), np.uint8) - np.uint8(48)  # (characters,)
    # A character before the first digit wraps around to a value above all digits.
    if digits.max(initial=0) >= 64:
        raise ValueError("the text of the RLE holds a character that is no digit")
    text_ends = np.array([len(text) for text in encoded], np.int64).cumsum()
    if len(digits) and digits[text_ends - 1].max() >= 32:
        raise ValueError("the text of the RLE ends inside a number")
    last = (digits < 32).nonzero()[0]  # (numbers,) a number's last digit lacks the continuation bit
    return _accumulate(_parse_numbers(digits.astype(np.int64), last), last.searchsorted(text_ends))


def _parse_numbers(digits: Integers, last: Integers) -> Integers:
    """Parse the signed numbers of which the positions of the last digits are given."""
    if not len(last):
        return last
    first = np.concatenate([np.zeros(1, np.int64), last[:-1] + 1])
    num_digits = last - first + 1
    if num_digits.max() > _MAX_DIGITS:
        raise ValueError("the text of the RLE holds a number beyond every image")
    shifts = 5 * (np.arange(len(digits)) - first.repeat(num_digits))  # (digits,)
    numbers: Integers = np.add.reduceat((digits & 31) << shifts, first)
    return numbers - ((digits[last] >> 4 & 1) << 5 * num_digits)  # two's complement


def _accumulate(numbers: Integers, number_ends: Integers) -> Counts:
    """Turn the relative numbers of all texts in a row into counts."""
    lengths = number_ends.copy()  # (N,) numbers of each text
    lengths[1:] -= number_ends[:-1]
    is_odd = lengths & 1
    num_pairs = (lengths + is_odd) >> 1
    ends = num_pairs.cumsum()
    first = ends - num_pairs
    pairs = np.zeros((num_pairs.sum(), 2), np.int64)  # (K, 2)
    # A text of an odd number of counts leaves the last element of its last pair at 0.
    pairs.ravel()[np.arange(len(numbers)) + (is_odd.cumsum() - is_odd).repeat(lengths)] = numbers
    # The third number is absolute, so the first is taken out of the column sums; the fourth is relative to the second.
    first_of_many = first[num_pairs > 1]
    pairs[first_of_many + 1, 0] -= pairs[first_of_many, 0]
    sums = np.concatenate([np.zeros((1, 2), np.int64), pairs.cumsum(axis=0)])  # (K + 1, 2)
    counts = sums[1:] - sums[first].repeat(num_pairs, axis=0)
    counts[ends[is_odd > 0] - 1, 1] = 0
    return Counts(counts, ends)
