"""COCO's run-length encoding (RLE) in numpy: text, areas and bitmaps.

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

from solo.masks.rle_counts import Counts, decode_counts

Integers = npt.NDArray[np.int64]
Bitmaps = npt.NDArray[np.bool_]

MAX_CHARACTERS = 7
"""Of one count: 35 bits signed, enough for 17 billion pixels."""


class RLE(TypedDict):
    """A compressed COCO run-length encoding: `size` is [height, width] in pixels, `counts` is ASCII text."""

    size: list[int]
    counts: str


class MaskWindow(NamedTuple):
    """The columns of a mask that its object spans.

    Attributes:
        left: index of the first of these columns.
        pixels: (H, w) bool, the whole height; w is 0 for a mask without a pixel.
    """

    left: int
    pixels: Bitmaps


def encode_counts(counts: Integers, num_counts: Integers) -> list[str]:
    """Encode the counts of D masks as text.

    Args:
        counts: (R,) int64 counts of all masks, one mask after the other.
        num_counts: (D,) int64 number of counts of each mask.
    """
    ends = num_counts.cumsum()
    index = np.arange(len(counts)) - (ends - num_counts).repeat(num_counts)  # (R,) position in its own mask
    values = counts.copy()
    values[2:] -= np.where(index[2:] > 2, counts[:-2], 0)
    characters = np.ones_like(values)  # (R,) characters of each value
    for bits in range(4, 5 * MAX_CHARACTERS - 1, 5):
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
    """Encode bitmaps.

    Args:
        masks: (D, H, W) bool, or uint8 of zeros and ones.

    Raises:
        ValueError: `masks` has another shape or dtype.
    """
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


def rle_areas(rles: Sequence[RLE]) -> Integers:
    """Count the pixels of encoded masks: (D,) int64.

    Raises:
        ValueError: a text is no RLE.
    """
    pairs, ends = _decode(rles)
    sums = np.concatenate([np.zeros(1, np.int64), pairs[:, 1].cumsum()])
    return np.diff(sums[ends], prepend=0)


def decode_masks(rles: Sequence[RLE], *, size: tuple[int, int]) -> Bitmaps:
    """Decode RLEs to bitmaps.

    Args:
        rles: D encodings.
        size: (height, width) of each, pixels.

    Returns:
        (D, height, width) bool.

    Raises:
        ValueError: an encoding has another size, or its text is no RLE of that size.
    """
    masks = np.zeros((len(rles), *size), bool)
    for mask, window in zip(masks, decode_windows(rles, size=size), strict=True):
        mask[:, window.left : window.left + window.pixels.shape[1]] = window.pixels
    return masks


def decode_windows(rles: Sequence[RLE], *, size: tuple[int, int]) -> Iterator[MaskWindow]:
    """Decode RLEs one by one, each only in the columns that its object spans; arguments as for `decode_masks`."""
    height, width = size
    for rle in rles:
        if tuple(rle["size"]) != (height, width):
            raise ValueError(f"an encoded mask has the size {tuple(rle['size'])}, expected {(height, width)}")
    pairs, ends = _decode(rles)
    for rle, (start, stop) in zip(rles, itertools.pairwise([0, *ends.tolist()]), strict=True):
        own = pairs[start:stop]
        if own.min(initial=0) < 0 or own.sum() != height * width:
            raise ValueError(f"the RLE {rle['counts'][:40]!r} does not describe {height} x {width} pixels")
        yield _fill_window(own, height)


def _fill_window(pairs: Integers, height: int) -> MaskWindow:
    """Fill the columns of one mask from its pairs (P, 2) of background and object counts."""
    stops = pairs.sum(axis=1).cumsum()  # (P,) column-major position after each run of the object
    borders = np.stack([stops - pairs[:, 1], stops], axis=1)[pairs[:, 1] > 0].ravel()  # starts and stops alternate
    if not len(borders):
        return MaskWindow(0, np.zeros((height, 0), bool))
    left, right = borders[0] // height, -(-borders[-1] // height)
    lengths = np.diff(borders, prepend=left * height, append=right * height)
    pixels = (np.arange(len(lengths)) % 2 == 1).repeat(lengths)  # ((right - left) * H,) column-major
    return MaskWindow(int(left), pixels.reshape(-1, height).T)


def _decode(rles: Sequence[RLE]) -> Counts:
    texts = (rle["counts"] for rle in rles)
    # pycocotools returns the text as bytes.
    return decode_counts([text if isinstance(text, bytes) else text.encode("ascii") for text in texts])
