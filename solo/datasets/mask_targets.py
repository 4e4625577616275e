"""What training needs of an object's mask: its pixel count, its mass centre, and the mask at one or several strides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from solo.datasets.instance_masks import InstanceMasks
from solo.datasets.mask_sampling import Drawing, Integers, Mass, cut_at_columns, draw, edges, measure
from solo.ops.mask_windows import MaskWindows
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

    def of(self, positions: Integers) -> MaskTargets:
        """Those of the masks at some positions."""
        masks = {stride: packed[positions] for stride, packed in self.masks.items()}
        return MaskTargets(self.pixels[positions], self.centers[positions], masks)


def mask_targets(masks: InstanceMasks, *, strides: Sequence[int] = (MASK_STRIDE,)) -> MaskTargets:
    """Work them out from the runs: equal, bit for bit, to `mass_centers` and `downsample_masks` of the bitmaps.

    Args:
        masks: N masks.
        strides: Pixels per pixel of the masks that are wanted, even numbers.
    """
    positions: list[int] = []
    masses: list[Mass] = []
    drawings: dict[int, list[Drawing]] = {stride: [] for stride in strides}
    for frame, members in masks.groups():
        runs = cut_at_columns(masks.runs(members))
        rows, columns = edges(frame.rows, runs.height), edges(frame.columns, runs.width)
        positions += members
        masses.append(measure(runs, rows, columns))
        for stride, drawn in drawings.items():
            drawn.append(draw(runs, _middles_before(rows, stride), _middles_before(columns, stride), block=2))
    sums = np.zeros((3, len(masks)), np.int64)
    if masses:
        sums[:, positions] = np.concatenate(masses, axis=1)
    with np.errstate(invalid="ignore"):
        centers = np.ascontiguousarray(np.divide(sums[1:], sums[0], dtype=np.float32).T)
    sizes = {stride: (-(-masks.height // stride), -(-masks.width // stride)) for stride in strides}
    packed = {stride: _packed(drawn, positions, sizes[stride]) for stride, drawn in drawings.items()}
    return MaskTargets(sums[0], centers, packed)


def _middles_before(positions: Integers, stride: int) -> Integers:
    """How many of the two middle positions of each block of `stride` lie before some positions.

    A pixel of `downsample_masks` is set when at least two of the four pixels in the middle of its block are.
    """
    return 2 * (positions // stride) + (positions % stride - (stride // 2 - 1)).clip(0, 2)


def _packed(drawings: Sequence[Drawing], positions: Sequence[int], size: tuple[int, int]) -> MaskWindows:
    """Masks that were drawn in groups, brought to their positions."""
    windows, starts = np.zeros((len(positions), 4), np.int32), np.zeros(len(positions), np.int64)
    if drawings:
        windows[positions] = np.concatenate([drawing.windows for drawing in drawings])
        offsets = np.cumsum([0, *(len(drawing.pixels) for drawing in drawings)])
        starts[positions] = np.concatenate([d.starts + offset for d, offset in zip(drawings, offsets, strict=False)])
    bits = np.packbits(np.concatenate([np.zeros(0, np.bool_), *(d.pixels for d in drawings)]), bitorder="little")
    return MaskWindows(
        size=size, windows=torch.from_numpy(windows), starts=torch.from_numpy(starts), bits=torch.from_numpy(bits)
    )
