"""What training needs of an object's mask: its pixel count, its mass centre, and the mask at one or several strides."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from solo.masks.bitmaps import MASK_STRIDE
from solo.masks.column_runs import Integers
from solo.masks.instance_masks import InstanceMasks
from solo.masks.mask_windows import MaskWindows
from solo.masks.transformed_runs import Drawing, draw, measure, shrink


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
    shown = masks.shown()
    sums = np.array(measure(shown))
    pixels = sums[0]
    with np.errstate(invalid="ignore"):
        centers = np.divide(sums[1:].T, pixels[:, None], dtype=np.float32, order="C")
    packed = {}
    for stride in strides:
        rows, columns = _middles_before(masks.height, stride), _middles_before(masks.width, stride)
        drawing = draw(shrink(shown, rows, columns), block=2)
        packed[stride] = _packed(drawing, (-(-masks.height // stride), -(-masks.width // stride)))
    return MaskTargets(pixels, centers, packed)


@lru_cache(maxsize=512)
def _middles_before(size: int, stride: int) -> Integers:
    """(size + 1,) how many of the two middle positions of each block of `stride` are among the first 0, 1, ... ones.

    A pixel of `downsample_masks` is set when at least two of the four pixels in the middle of its block are.
    """
    positions = np.arange(size + 1)
    middles = 2 * (positions // stride) + (positions % stride - (stride // 2 - 1)).clip(0, 2)
    middles.flags.writeable = False
    return middles


def _packed(drawing: Drawing, size: tuple[int, int]) -> MaskWindows:
    return MaskWindows(
        size=size,
        windows=torch.from_numpy(drawing.windows.astype(np.int32)),
        starts=torch.from_numpy(drawing.starts),
        bits=torch.from_numpy(np.packbits(drawing.pixels, bitorder="little")),
    )
