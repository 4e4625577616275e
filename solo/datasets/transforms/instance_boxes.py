"""Boxes for mmdet's transforms that compute in numpy.

mmdet is imported here at the top, which takes long: import this module where mmdet is needed anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from mmdet.structures.bbox import HorizontalBoxes, register_box, register_box_converter


@register_box("solo_hbox")
class InstanceBoxes(HorizontalBoxes):
    """mmdet's `HorizontalBoxes` on the host, whose usual changes are made in numpy, to the same bits.

    An image has a dozen boxes, for which a tensor operation spends its time on being called: resizing, clipping and
    flipping them took as long as all that is done with their masks.

    Attributes:
        array: (..., 4) x1 y1 x2 y2, the memory of `tensor`.
    """

    array: npt.NDArray[Any]

    @classmethod
    def of(cls, boxes: npt.NDArray[np.float32]) -> InstanceBoxes:
        """Take boxes (N, 4) x1 y1 x2 y2, which are changed in place."""
        taken = cls.__new__(cls)
        taken.array = boxes
        return taken

    @property
    def tensor(self) -> torch.Tensor:
        """The boxes, as mmdet reads and changes them."""
        return torch.from_numpy(self.array)

    @tensor.setter
    def tensor(self, boxes: torch.Tensor) -> None:
        self.array = boxes.numpy()

    def numpy(self) -> npt.NDArray[Any]:
        """The boxes as an array."""
        return self.array

    def convert_to(self, dst_type: Any) -> Any:
        """The boxes as another of mmdet's types, whatever `HorizontalBoxes` can become."""
        return HorizontalBoxes(self.tensor, clone=False).convert_to(dst_type)

    def rescale_(self, scale_factor: Sequence[float]) -> None:
        """Multiply x and y by one factor each."""
        x, y = scale_factor
        self.array = self.array * np.array([x, y, x, y], self.array.dtype)

    def clip_(self, img_shape: Sequence[int]) -> None:
        """Cut to an image of (height, width), in place."""
        height, width = img_shape
        np.maximum(self.array, 0, out=self.array)
        np.minimum(self.array, np.array([width, height, width, height], self.array.dtype), out=self.array)

    def flip_(self, img_shape: Sequence[int], direction: str = "horizontal") -> None:
        """Mirror in an image of (height, width), in place; direction is "horizontal", "vertical" or "diagonal"."""
        if direction not in ("horizontal", "vertical", "diagonal"):
            raise ValueError(f"direction must be horizontal, vertical or diagonal, not {direction!r}")
        for axis, directions in enumerate((("horizontal", "diagonal"), ("vertical", "diagonal"))):
            if direction in directions:
                self.array[..., axis::2] = img_shape[1 - axis] - self.array[..., axis::2][..., ::-1]


register_box_converter(HorizontalBoxes, InstanceBoxes, lambda boxes: boxes)
