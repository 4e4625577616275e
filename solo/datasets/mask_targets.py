"""What training needs of an object's mask: its pixel count, its mass centre, and the mask at one or several strides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from solo.datasets.instance_masks import InstanceMasks
from solo.datasets.mask_sampling import OUTSIDE, ColumnRuns, Frame, Integers, cut_at_columns, measure, sample, windows
from solo.ops.mask_windows import MaskWindows, first_bits
from solo.ops.masks import MASK_STRIDE


class MaskTargets(NamedTuple):
    """Of N masks.

    Attributes:
        pixels: (N,) int64 number of pixels.
        centers: (N, 2) float32 x y of the mass centre in pixels, NaN for a mask without pixels.
        masks: The masks by stride.
    """

    pixels: Integers
    centers: npt.NDArray[np.float32]
    masks: dict[int, MaskWindows]


def mask_targets(masks: InstanceMasks, *, strides: Sequence[int] = (MASK_STRIDE,)) -> MaskTargets:
    """Work them out from the runs: equal, bit for bit, to `mass_centers` and `downsample_masks` of the bitmaps.

    Args:
        masks: N masks.
        strides: Pixels per pixel of the masks that are wanted, even numbers.
    """
    pixels, sums = np.zeros(len(masks), np.int64), np.zeros((len(masks), 2), np.int64)
    packers = {stride: _Packer(masks, stride) for stride in strides}
    for frame, members in masks.groups():
        runs = cut_at_columns(masks.runs(members))
        mass = measure(runs, frame)
        pixels[members], sums[members] = mass.pixels, np.stack([mass.x_sums, mass.y_sums], axis=1)
        for packer in packers.values():
            packer.add(members, runs, frame)
    with np.errstate(invalid="ignore"):
        centers = np.divide(sums, pixels[:, None], dtype=np.float32)
    return MaskTargets(pixels, centers, {stride: packer.packed() for stride, packer in packers.items()})


class _Packer:
    """Masks shrunk to one stride, packed group by group."""

    def __init__(self, masks: InstanceMasks, stride: int) -> None:
        self._stride = stride
        self._size = -(-masks.height // stride), -(-masks.width // stride)
        self._cuts, self._starts = np.zeros((len(masks), 4), np.int32), np.zeros(len(masks), np.int64)
        self._drawn, self._num_drawn = [np.zeros(0, np.bool_)], 0

    def add(self, members: Sequence[int], runs: ColumnRuns, frame: Frame) -> None:
        """Shrink the masks at these positions, given as their runs."""
        cuts, pixels = _shrunk(runs, frame, stride=self._stride)
        self._cuts[members] = cuts
        self._starts[members] = first_bits(torch.from_numpy(cuts)).numpy() + self._num_drawn
        self._drawn.append(pixels)
        self._num_drawn += len(pixels)

    def packed(self) -> MaskWindows:
        """All masks."""
        return MaskWindows(
            size=self._size,
            windows=torch.from_numpy(self._cuts),
            starts=torch.from_numpy(self._starts),
            bits=torch.from_numpy(np.packbits(np.concatenate(self._drawn), bitorder="little")),
        )


def _shrunk(masks: ColumnRuns, frame: Frame, *, stride: int) -> tuple[Integers, npt.NDArray[np.bool_]]:
    """Windows of the shrunk masks, and their pixels in a row, column by column.

    A pixel is set when at least two of the four in the middle of its block are, as in `downsample_masks`.
    """
    middle = Frame(*(_middle_of_blocks(index, stride).ravel() for index in frame))
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


def _middle_of_blocks(index: Integers, stride: int) -> Integers:
    """(blocks, 2) what the middle of each block of an index map shows; the last block is filled up with background."""
    padding = np.full(-len(index) % stride, OUTSIDE, np.int64)
    return np.concatenate([index, padding]).reshape(-1, stride)[:, stride // 2 - 1 : stride // 2 + 1]
