"""Mask probabilities in arrays to RLEs at the size of the original image: what `encode_resized` does with tensors."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from solo.masks.column_runs import runs_from_bitmaps
from solo.masks.resize_taps import TAPS, Floats, ResizeTaps
from solo.masks.rle import RLE, Bitmaps, encode_runs

CHUNK_PIXELS = 2**17
"""Pixels that are interpolated at once, so that they stay in the cache."""

GROUP_MASKS = 16
"""Masks that are encoded at once: enough for arrays of some length, few enough for masks of noise, all runs."""


class EncodedArrays(NamedTuple):
    """D encoded masks of an image and their boxes."""

    rles: list[RLE]
    boxes: Floats  # (D, 4) x1 y1 x2 y2 in pixels, x2 and y2 exclusive; zeros if empty


def encode_resized_arrays(
    probabilities: npt.NDArray[Any], *, image_size: tuple[int, int], original_size: tuple[int, int], threshold: float
) -> EncodedArrays:
    """Resize masks at stride 4 to the original image, binarise and encode them, one after the other.

    Each mask is resized where it is, by the taps of `solo.masks.resize.resize_masks`; no full-size mask is made.

    Args:
        probabilities: (D, h, w) float32, or uint8 as round(255 * probability).
        image_size: (height, width) of the network input without its padding, pixels.
        original_size: (height, width) of the image, pixels.
        threshold: a pixel belongs to the mask if its probability is larger; at least 0.
    """
    rows, columns = (
        ResizeTaps.composed(source=source, image=image, original=original)
        for source, image, original in zip(probabilities.shape[1:], image_size, original_size, strict=True)
    )
    rles: list[RLE] = []
    boxes = np.zeros((len(probabilities), 4), np.float32)
    for start in range(0, len(probabilities), GROUP_MASKS):
        group = probabilities[start : start + GROUP_MASKS]
        windows = (_resize(mask, rows=rows, columns=columns, threshold=threshold) for mask in group)
        runs = runs_from_bitmaps(windows, height=original_size[0], width=original_size[1])
        rles += encode_runs(runs)
        boxes[start : start + GROUP_MASKS] = runs.tight_boxes()
    return EncodedArrays(rles, boxes)


def _resize(
    mask: npt.NDArray[Any], *, rows: ResizeTaps, columns: ResizeTaps, threshold: float
) -> tuple[int, int, Bitmaps]:
    """The window of a resized mask outside of which it is background: left column, top row, pixels."""
    may_be_inside = mask >= max(1, int(255 * threshold)) if mask.dtype == np.uint8 else mask > threshold
    left, top, width, height = cv2.boundingRect(may_be_inside.view(np.uint8))
    first_row, end_row = rows.reach(top, top + height)
    first_column, end_column = columns.reach(left, left + width)
    window = np.zeros((max(0, end_column - first_column), max(0, end_row - first_row)), np.bool_)
    if not width or not window.size:
        return 0, 0, window[:0].T
    low, high = columns.firsts[first_column], columns.firsts[end_column - 1] + TAPS
    lines = mask[:, low:high].astype(np.float32)
    if mask.dtype == np.uint8:
        lines /= 255
    lines = _interpolate(lines, rows, first_row, end_row)
    # Columns become the first axis: interpolating along contiguous lines is faster, and runs are those of columns.
    lines = np.ascontiguousarray(lines.T)  # (columns of the map, rows of the window)
    step = max(1, CHUNK_PIXELS // window.shape[1])
    for start in range(first_column, end_column, step):
        stop = min(start + step, end_column)
        pixels = _interpolate(lines, columns, start, stop, offset=low)
        np.greater(pixels, np.float32(threshold), out=window[start - first_column : stop - first_column])
    return first_column, first_row, window.T


def _interpolate(lines: Floats, taps: ResizeTaps, start: int, stop: int, *, offset: int = 0) -> Floats:
    """Interpolate along axis 0: the outputs [start, stop) from `lines`, whose first one has the position `offset`."""
    positions, weights = taps.positions[:, start:stop] - offset, taps.weights[:, start:stop, None]
    result: Floats = lines.take(positions[0], axis=0)  # faster than an index
    result *= weights[0]
    for tap in range(1, TAPS):
        neighbours = lines.take(positions[tap], axis=0)
        neighbours *= weights[tap]
        result += neighbours
    return result
