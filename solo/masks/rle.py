"""COCO's run-length encoding (RLE) in numpy: text and numbers, areas, bitmaps and column runs.

An RLE counts the pixels of alternating runs of background and object, in column-major order, background first. As text
each count from the fourth on is the difference to the count two before it; a number is written in groups of five bits,
lowest first, signed, one character a group, offset by 48 (`rleToString` of pycocotools' `maskApi.c`). Texts equal those
of pycocotools byte for byte.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypedDict

import numpy as np
import numpy.typing as npt

from solo.masks.column_runs import ColumnRuns, Integers, ranges

Bitmaps = npt.NDArray[np.bool_]

_MAX_WRITTEN, _MAX_READ = 7, 12
"""Characters of one count, five bits each: 35 bits signed are enough for 17 billion pixels."""


class RLE(TypedDict):
    """A compressed COCO run-length encoding: `size` is [height, width] in pixels, `counts` is ASCII text."""

    size: list[int]
    counts: str


class Counts(NamedTuple):
    """The counts of N masks in pairs; a final background run is followed by an object run of length 0."""

    pairs: Integers  # (K, 2) lengths of a background run and of the object run after it, mask after mask
    ends: Integers  # (N,) index in `pairs` at which each mask ends


# --------------------------------------------------------------------------------------------------------------- encode
def encode_counts(counts: Integers, num_counts: Integers) -> list[str]:
    """Encode as text the counts (R,) of D masks, one mask after the other, given the number of counts (D,) of each."""
    ends = num_counts.cumsum()
    index = np.arange(len(counts)) - (ends - num_counts).repeat(num_counts)  # (R,) position in its own mask
    values = counts.copy()
    values[2:] -= np.where(index[2:] > 2, counts[:-2], 0)
    characters = np.ones_like(values)  # (R,) characters of each value
    for bits in range(4, 5 * _MAX_WRITTEN - 1, 5):
        # Most values are short: stop at the first width that holds all of them.
        is_longer = (values >= 1 << bits) | (values < -(1 << bits))
        if not is_longer.any():
            break
        characters += is_longer
    stops = characters.cumsum()
    digit = np.arange(characters.sum()) - (stops - characters).repeat(characters)  # (T,) index of the five bits
    values, characters = values.repeat(characters), characters.repeat(characters)  # (T,)
    is_continued = digit < characters - 1
    codes = ((values >> (5 * digit)) & 31) + 32 * is_continued + 48  # (T,)
    text = codes.astype(np.uint8).tobytes().decode("ascii")
    borders = [0, *stops[ends - 1].tolist()] if len(ends) else [0]
    return [text[start:stop] for start, stop in itertools.pairwise(borders)]


def encode_masks(masks: npt.NDArray[np.bool_ | np.uint8]) -> list[RLE]:
    """Encode bitmaps (D, H, W) bool, or uint8 of zeros and ones; others raise ValueError."""
    if masks.ndim != 3:
        raise ValueError(f"masks must have shape (D, H, W), got {masks.shape}")
    if masks.dtype not in (np.dtype(bool), np.dtype(np.uint8)):
        raise ValueError(f"masks must be bool or uint8, got {masks.dtype}")
    counts = [np.zeros(0, np.int64)]
    for mask in masks:
        pixels = mask.T.ravel()  # (W * H,) column-major
        edges = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
        starts_with_object = pixels[:1].astype(bool)
        counts.append(np.diff(edges, prepend=np.zeros(1 + starts_with_object.sum(), np.int64), append=len(pixels)))
    texts = encode_counts(np.concatenate(counts), np.array([len(each) for each in counts[1:]], np.int64))
    height, width = masks.shape[1:]
    return [RLE(size=[height, width], counts=text) for text in texts]


def encode_runs(runs: ColumnRuns) -> list[RLE]:
    """Encode masks that are given by their runs, which are sorted by mask, column and row and have a pixel each."""
    pixels = runs.height * runs.width
    # All masks on one axis, with one more index after each for the end of its last run.
    origins = np.arange(runs.num_masks) * (pixels + 1)  # (N,)
    positions = (runs.column * runs.height + runs.rows).T.ravel()  # (2 R,) starts and stops alternate
    mask = runs.mask.repeat(2)
    borders = origins[mask] + positions
    keep = positions < pixels
    # A run that ends where the next column starts one goes on: both borders are dropped.
    continues = borders[1:] == borders[:-1]
    keep[1:] &= ~continues
    keep[:-1] &= ~continues
    borders_per_mask = np.bincount(mask[keep], minlength=runs.num_masks)  # (N,)
    ends = np.insert(borders[keep], borders_per_mask.cumsum(), origins + pixels)  # where each count ends
    counts = np.diff(ends, prepend=-1)
    num_counts = borders_per_mask + 1
    counts[num_counts.cumsum() - num_counts] -= 1  # the index between two masks is no pixel
    return [RLE(size=[runs.height, runs.width], counts=text) for text in encode_counts(counts, num_counts)]


# --------------------------------------------------------------------------------------------------------------- decode
def decode_counts(encoded: Sequence[str | bytes]) -> Counts:
    """Decode compressed counts: signed base-32 numbers, from the fourth on relative to the one two before.

    All texts are decoded at once, as an image has many short ones. Equal to `rleFrString` of pycocotools' maskApi.c,
    which reads past the size of the mask as this does: the caller checks the sum.

    Raises:
        ValueError: A character is no digit, or a text ends inside a number.
    """
    # pycocotools gives the text as bytes.
    texts = [text if isinstance(text, bytes) else text.encode("ascii") for text in encoded]
    digits = np.frombuffer(b"".join(texts), np.uint8) - np.uint8(48)  # (characters,)
    # A character before the first digit wraps around to a value above all digits.
    if digits.max(initial=0) >= 64:
        raise ValueError("the text of the RLE holds a character that is no digit")
    text_ends = np.array([len(text) for text in texts], np.int64).cumsum()
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
    if num_digits.max() > _MAX_READ:
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


def pair_counts(counts: Sequence[Sequence[int]]) -> Counts:
    """Arrange the uncompressed counts of N masks."""
    padded = [[*of_mask, 0] if len(of_mask) % 2 else of_mask for of_mask in counts]
    pairs = np.concatenate([np.zeros((0, 2), np.int64), *(np.array(p, np.int64).reshape(-1, 2) for p in padded)])
    return Counts(pairs, np.cumsum([len(of_mask) // 2 for of_mask in padded], dtype=np.int64))


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
    ends = ends[1:][kept]  # (spans,) column-major
    starts = ends - pairs[kept, 1]
    # Spans are split where columns end.
    column = starts // height
    pieces = (ends - 1) // height - column + 1  # (spans,) columns that each touches
    if pieces.max(initial=1) > 1:
        column = ranges(column, pieces)  # (R,)
        starts, ends = starts.repeat(pieces), ends.repeat(pieces)
    above = column * height
    mask = column // width
    rows = np.array([np.maximum(starts - above, 0), np.minimum(ends - above, height)])  # (2, R)
    return ColumnRuns(height, width, len(mask_ends), mask, column - mask * width, rows)


def rle_areas(rles: Sequence[RLE]) -> Integers:
    """Count the pixels of encoded masks: (D,) int64. A text that is no RLE raises ValueError."""
    pairs, ends = decode_counts([rle["counts"] for rle in rles])
    sums = np.concatenate([np.zeros(1, np.int64), pairs[:, 1].cumsum()])
    return np.diff(sums[ends], prepend=0)


def decode_masks(rles: Sequence[RLE], *, size: tuple[int, int]) -> Bitmaps:
    """Decode D RLEs of `size` (height, width) pixels to bitmaps (D, height, width) bool.

    Raises:
        ValueError: an encoding has another size, or its text is no RLE of that size.
    """
    masks = np.zeros((len(rles), *size), bool)
    for mask, (left, pixels) in zip(masks, decode_windows(rles, size=size), strict=True):
        mask[:, left : left + pixels.shape[1]] = pixels
    return masks


def decode_windows(rles: Sequence[RLE], *, size: tuple[int, int]) -> Iterator[tuple[int, Bitmaps]]:
    """Decode RLEs one by one, each only in the columns that its object spans; arguments as for `decode_masks`.

    Yields:
        The first of these columns, and the pixels (height, columns), without a column for an empty mask.
    """
    height, width = size
    for rle in rles:
        if tuple(rle["size"]) != (height, width):
            raise ValueError(f"an encoded mask has the size {tuple(rle['size'])}, expected {(height, width)}")
    pairs, ends = decode_counts([rle["counts"] for rle in rles])
    for rle, (start, stop) in zip(rles, itertools.pairwise([0, *ends.tolist()]), strict=True):
        own = pairs[start:stop]
        if own.min(initial=0) < 0 or own.sum() != height * width:
            raise ValueError(f"the RLE {rle['counts'][:40]!r} does not describe {height} x {width} pixels")
        yield _fill_window(own, height)


def _fill_window(pairs: Integers, height: int) -> tuple[int, Bitmaps]:
    """Fill the columns of one mask from its pairs (P, 2) of background and object counts."""
    stops = pairs.sum(axis=1).cumsum()  # (P,) column-major position after each run of the object
    borders = np.stack([stops - pairs[:, 1], stops], axis=1)[pairs[:, 1] > 0].ravel()  # starts and stops alternate
    if not len(borders):
        return 0, np.zeros((height, 0), bool)
    left, right = borders[0] // height, -(-borders[-1] // height)
    lengths = np.diff(borders, prepend=left * height, append=right * height)
    pixels = (np.arange(len(lengths)) % 2 == 1).repeat(lengths)  # ((right - left) * H,) column-major
    return int(left), pixels.reshape(-1, height).T
