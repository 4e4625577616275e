"""Masks as runs of set pixels, and COCO's text form of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]

_LONGEST_NUMBER = 12  # digits of five bits: 60 bits


class RunLengths(NamedTuple):
    """A mask as its runs of set pixels, ascending, in COCO's order: pixel (row, column) is column * height + row.

    Attributes:
        height: Height of the mask in pixels.
        width: Width of the mask in pixels.
        starts: (R,) first pixel of each run.
        ends: (R,) the pixel after each run, larger than its start.
    """

    height: int
    width: int
    starts: Integers
    ends: Integers


def runs_of_counts(counts: Integers, *, height: int, width: int) -> RunLengths:
    """The runs of an RLE's counts, which are the lengths of background and object by turns.

    Raises:
        ValueError: A count is negative, or they do not sum up to the size of the mask.
    """
    edges = counts.cumsum()
    if len(counts) == 0 or counts.min() < 0 or edges[-1] != height * width:
        raise ValueError(f"the counts of the RLE must be lengths that sum up to {height} x {width} pixels")
    starts, ends = edges[0:-1:2], edges[1::2]
    kept = ends > starts
    if not kept.all():
        starts, ends = starts[kept], ends[kept]
    return RunLengths(height, width, starts, ends)


def runs_of_bitmap(bitmap: npt.NDArray[Any], *, top: int, left: int, height: int, width: int) -> RunLengths:
    """The runs of a mask of which a part is given, and the rest is background.

    Args:
        bitmap: (H, W) the part, in which everything but 0 is set.
        top: Row of the mask at which the part begins.
        left: Column of the mask at which it begins.
        height: Height of the mask in pixels.
        width: Width of the mask in pixels.
    """
    framed = np.zeros((bitmap.shape[1], bitmap.shape[0] + 2), np.bool_)
    framed[:, 1:-1] = bitmap.T
    # Every column of the frame begins and ends with background, so its changes are a start and an end by turns.
    column, row = np.nonzero(framed[:, 1:] != framed[:, :-1])
    edges = (left + column) * height + top + row
    return RunLengths(height, width, edges[0::2], edges[1::2])


def decode_counts(encoded: Sequence[bytes]) -> list[Integers]:
    """The counts of compressed RLEs: signed base-32 numbers, from the fourth on relative to the one two before.

    All texts are read at once, as an image has many short ones. `rleFrString` of pycocotools' `maskApi.c` is the
    source; it reads past the size of the mask, and so does this: the numbers are the caller's to check.

    Raises:
        ValueError: A character that is no digit, or a text that ends inside a number.
    """
    digits = np.frombuffer(b"".join(encoded), np.uint8).astype(np.int64) - 48
    is_last = (digits & ~31) == 0
    last = np.flatnonzero(is_last)
    text_ends = np.cumsum([len(text) for text in encoded])
    number_ends = np.searchsorted(last, text_ends)
    if len(digits) and (digits.min() < 0 or digits.max() >= 64):
        raise ValueError("the text of the RLE holds a character that is no digit")
    if not all(len(text) == 0 or is_last[end - 1] for text, end in zip(encoded, text_ends, strict=True)):
        raise ValueError("the text of the RLE ends inside a number")
    if not len(last):
        return [np.zeros(0, np.int64) for _ in encoded]
    first = np.concatenate([[0], last[:-1] + 1])
    num_digits = last - first + 1
    if num_digits.max() > _LONGEST_NUMBER:
        raise ValueError("the text of the RLE holds a number beyond every image")
    shifts = 5 * (np.arange(len(digits)) - first.repeat(num_digits))
    numbers = np.add.reduceat((digits & 31) << shifts, first)
    numbers -= (digits[last] >> 4 & 1) << 5 * num_digits
    counts = [numbers[start:end] for start, end in pairwise([0, *number_ends.tolist()])]
    for numbers_of_text in counts:
        numbers_of_text[1::2] = numbers_of_text[1::2].cumsum()
        numbers_of_text[2::2] = numbers_of_text[2::2].cumsum()
    return counts
