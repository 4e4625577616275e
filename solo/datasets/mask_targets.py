"""What training needs of an object's mask: its pixel count, its mass centre, and the mask at stride 4."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from solo.datasets.instance_masks import InstanceMasks
from solo.datasets.mask_sampling import OUTSIDE, ColumnRuns, Frame, Integers, cut_at_columns, measure, sample, windows
from solo.ops.mask_windows import MaskWindows, first_bits
from solo.ops.masks import MASK_STRIDE

_MIDDLE = slice(1, 3)
"""Rows and columns of a 4x4 block that bilinear interpolation to its centre reads."""


class MaskTargets(NamedTuple):
    """Of N masks.

    Attributes:
        pixels: (N,) int64 number of pixels.
        centers: (N, 2) float32 x y of the mass centre in pixels, NaN for a mask without pixels.
        masks: The masks at stride 4.
    """

    pixels: Integers
    centers: npt.NDArray[np.float32]
    masks: MaskWindows


def mask_targets(masks: InstanceMasks) -> MaskTargets:
    """Work them out from the runs: equal, bit for bit, to `mass_centers` and `downsample_masks` of the bitmaps."""
    pixels, sums = np.zeros(len(masks), np.int64), np.zeros((len(masks), 2), np.int64)
    cuts, starts = np.zeros((len(masks), 4), np.int32), np.zeros(len(masks), np.int64)
    drawn, num_drawn = [np.zeros(0, np.bool_)], 0
    for frame, members in masks.groups():
        runs = cut_at_columns(masks.runs(members))
        mass = measure(runs, frame)
        pixels[members], sums[members] = mass.pixels, np.stack([mass.x_sums, mass.y_sums], axis=1)
        cuts_of_group, pixels_of_group = _at_stride_4(runs, frame)
        cuts[members] = cuts_of_group
        starts[members] = first_bits(torch.from_numpy(cuts_of_group)).numpy() + num_drawn
        drawn.append(pixels_of_group)
        num_drawn += len(pixels_of_group)
    with np.errstate(invalid="ignore"):
        centers = np.divide(sums, pixels[:, None], dtype=np.float32)
    packed = MaskWindows(
        size=(-(-masks.height // MASK_STRIDE), -(-masks.width // MASK_STRIDE)),
        windows=torch.from_numpy(cuts),
        starts=torch.from_numpy(starts),
        bits=torch.from_numpy(np.packbits(np.concatenate(drawn), bitorder="little")),
    )
    return MaskTargets(pixels, centers, packed)


def _at_stride_4(masks: ColumnRuns, frame: Frame) -> tuple[Integers, npt.NDArray[np.bool_]]:
    """Windows of the shrunk masks, and their pixels in a row, column by column.

    A pixel is set when at least two of the four in the middle of its block are, as in `downsample_masks`.
    """
    middle = Frame(*(_middle_of_blocks(index).ravel() for index in frame))
    cuts = windows(masks, middle, block=2)
    # All left columns of the middles, then all right ones: each is one half of what is drawn.
    left_then_right = Frame(middle.rows, middle.columns.reshape(-1, 2).T.ravel())
    left_cuts = cuts * np.array([1, 2, 1, 2])
    right_cuts = left_cuts + np.array([1, 0, 1, 0]) * (len(middle.columns) // 2)
    drawn = sample(
        masks, left_then_right, np.concatenate([left_cuts, right_cuts]), shown=np.tile(np.arange(len(cuts)), 2)
    )
    left, right = drawn.view(np.uint8).reshape(2, -1)
    upper, lower = (left + right).reshape(-1, 2).T
    return cuts, upper + lower >= 2


def _middle_of_blocks(index: Integers) -> Integers:
    """(blocks, 2) what the middle of each block of an index map shows; the last block is filled up with background."""
    padding = np.full(-len(index) % MASK_STRIDE, OUTSIDE, np.int64)
    return np.concatenate([index, padding]).reshape(-1, MASK_STRIDE)[:, _MIDDLE]
