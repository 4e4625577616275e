"""Column runs seen through index maps of rows and columns: areas, sums and bitmaps without a full-size mask.

Nearest-neighbour resizing, flipping, cropping and padding, in any sequence, are index maps: one source row for each row
of the result, and likewise for columns. Such a map shows a span of the source as a span again, so it is stored as the
positions at which the edges between source rows, or columns, come to lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from solo.masks.column_runs import ColumnRuns, Integers, bounding_boxes, reduce_by_mask

_BOTH_EDGES = np.array([[0], [1]])


class AxisMaps(NamedTuple):
    """Where the edges of an image's rows and columns come to lie in the transformed image.

    The source rows [p, q) are shown at [rows[p], rows[q]), or the reverse when flipped; equal edges show nothing.
    """

    rows: Integers  # (source height + 1,) ascending or descending
    columns: Integers  # (source width + 1,) likewise


class TransformedRuns(NamedTuple):
    """The runs of N masks in a transformed image: R rectangles that do not overlap, some of them empty."""

    num_masks: int  # N
    mask: Integers  # (R,) of each rectangle, ascending
    columns: Integers  # (2, R) first column and the column after the last one, equal when none shows the run
    rows: Integers  # (2, R) likewise

    def tight_boxes(self) -> Integers:
        """Tightest boxes (N, 4) x1 y1 x2 y2 in pixels, x2 and y2 exclusive; zeros for a mask without pixels."""
        return _enclose(_drop_empty(self))


class WindowBitmaps(NamedTuple):
    """N masks as bitmaps of their bounding windows."""

    windows: Integers  # (N, 4) x1 y1 x2 y2, x2 and y2 exclusive, that hold all pixels; zeros for a mask without one
    starts: Integers  # (N,) index in `pixels` of each window's first pixel
    pixels: npt.NDArray[np.bool_]  # (M,) of all windows in a row, each window column by column


def transform_runs(masks: ColumnRuns, maps: AxisMaps) -> TransformedRuns:
    """Map the runs of masks to the transformed image."""
    columns = maps.columns[masks.column + _BOTH_EDGES]  # (2, R)
    rows = maps.rows[masks.rows]  # (2, R)
    # Where the map of an axis is flipped, the bounds of its spans come in reverse.
    columns, rows = (
        spans if edges[0] <= edges[-1] else spans[::-1] for spans, edges in ((columns, maps.columns), (rows, maps.rows))
    )
    return TransformedRuns(masks.num_masks, masks.mask, columns, rows)


def concatenate_runs(parts: Sequence[TransformedRuns]) -> TransformedRuns:
    """Concatenate the masks of at least one part."""
    if len(parts) == 1:
        return parts[0]
    ends = np.cumsum([part.num_masks for part in parts], dtype=np.int64)
    return TransformedRuns(
        int(ends[-1]),
        np.concatenate([part.mask + (end - part.num_masks) for part, end in zip(parts, ends, strict=True)]),
        np.concatenate([part.columns for part in parts], axis=1),
        np.concatenate([part.rows for part in parts], axis=1),
    )


def areas_and_centers(masks: TransformedRuns) -> tuple[Integers, npt.NDArray[np.float32]]:
    """Count the pixels of N masks and find their mass centres.

    Returns:
        (N,) number of pixels, and (N, 2) mean x y of the pixels, NaN for a mask without one. The sums are exact; only
        the quotient is rounded.
    """
    (left, right), (top, bottom) = masks.columns, masks.rows
    areas = (right - left) * (bottom - top)  # (R,)
    # The mean position of a span is half of the sum of its first and last one; halved once everything is added up.
    doubled = np.array([2 * areas, areas * (left + right - 1), areas * (top + bottom - 1)])  # (3, R)
    areas, *sums = reduce_by_mask(np.add, doubled, masks.mask, num_masks=masks.num_masks) // 2  # three of (N,)
    with np.errstate(invalid="ignore"):
        return areas, np.divide(np.array(sums).T, areas[:, None], dtype=np.float32, order="C")


def rasterise_windows(masks: TransformedRuns, *, block: int = 1) -> WindowBitmaps:
    """Rasterise N masks in their bounding windows.

    Args:
        masks: N masks of (H, W) pixels.
        block: Side of the blocks of pixels that become one pixel, set when at least `block` of the `block` ** 2 are.

    Returns:
        N bitmaps of (ceil(H / block), ceil(W / block)) pixels in the smallest windows that hold all pixels of the
        masks.
    """
    masks = _drop_empty(masks)
    windows = _enclose(masks)  # (N, 4)
    windows[:, 2:] += block - 1
    windows //= block
    x1, y1, x2, y2 = windows.T
    heights = y2 - y1
    ends = ((x2 - x1) * heights).cumsum()
    starts = ends - (x2 - x1) * heights
    left, right = masks.columns
    widths = right - left  # (R,)
    # From here on one entry for each column of a rectangle, T in all.
    run = np.arange(len(left)).repeat(widths)  # (T,)
    x = (np.arange(len(run)) + (left + widths - widths.cumsum())[run]) // block  # (T,)
    # Index in `pixels` at which row 0 of the mask would lie in that column.
    origin = x * heights[masks.mask][run] + (starts - x1 * heights - y1)[masks.mask][run]  # (T,)
    # Each source row adds 1 to the pixel of its block: counts are the running sum of steps up and down.
    offsets = np.arange(block)[:, None]  # (block, 1)
    up, down = ((masks.rows[:, None] + offsets) // block).take(run, axis=2) + origin  # (2, block, T)
    steps = np.zeros(int(ends[-1]) + 1 if len(ends) else 1, np.int64)  # (M + 1,)
    np.add.at(steps, up.ravel(), 1)
    np.subtract.at(steps, down.ravel(), 1)
    return WindowBitmaps(windows, starts, steps.cumsum()[:-1] >= block)


def _drop_empty(masks: TransformedRuns) -> TransformedRuns:
    """Drop the rectangles without a pixel."""
    kept = ((masks.columns[0] < masks.columns[1]) & (masks.rows[0] < masks.rows[1])).nonzero()[0]
    return masks._replace(
        mask=masks.mask[kept], columns=masks.columns.take(kept, axis=1), rows=masks.rows.take(kept, axis=1)
    )


def _enclose(masks: TransformedRuns) -> Integers:
    (left, right), (top, bottom) = masks.columns, masks.rows
    return bounding_boxes(left, top, right, bottom, mask=masks.mask, num_masks=masks.num_masks)


def downsample_windows(masks: TransformedRuns, *, height: int, width: int, stride: int) -> WindowBitmaps:
    """Downsample N masks as bilinear interpolation of 0/1 bytes does: `cv2.resize(..., INTER_LINEAR)`, bit for bit.

    Bilinear interpolation by an even factor averages the 2x2 pixels in the middle of each block; rounded, the result is
    set when at least two of them are. Sides that the stride does not divide are padded with background.

    Args:
        masks: N masks.
        height: Of the masks, in pixels.
        width: Likewise.
        stride: Pixels per pixel of the result, even.

    Returns:
        N bitmaps of (ceil(height / stride), ceil(width / stride)) pixels.
    """
    rows, columns = _count_middles(height, stride), _count_middles(width, stride)
    return rasterise_windows(masks._replace(columns=columns[masks.columns], rows=rows[masks.rows]), block=2)


@lru_cache(maxsize=512)
def _count_middles(size: int, stride: int) -> Integers:
    """Count the two middle positions of each block of `stride` among the first 0, 1, ... positions: (size + 1,)."""
    positions = np.arange(size + 1)
    middles = 2 * (positions // stride) + (positions % stride - (stride // 2 - 1)).clip(0, 2)
    middles.flags.writeable = False  # the cache shares it
    return middles
