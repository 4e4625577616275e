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


@register_box("solo_hbox")  # type: ignore[untyped-decorator]
class InstanceBoxes(HorizontalBoxes):  # type: ignore[misc]
    """mmdet's `HorizontalBoxes` on the host, whose usual changes are made in numpy, to the same bits.

    An image has a dozen boxes, for which a tensor operation spends its time on being called: resizing, clipping and
    flipping them took as long as all that is done with their masks.
    """

    @classmethod
    def of(cls, boxes: npt.NDArray[np.float32]) -> InstanceBoxes:
        """Take boxes (N, 4) x1 y1 x2 y2, which are changed in place."""
        taken = cls.__new__(cls)
        taken.tensor = torch.from_numpy(boxes)
        return taken

    def convert_to(self, dst_type: Any) -> Any:
        """The boxes as another of mmdet's types, whatever `HorizontalBoxes` can become."""
        return HorizontalBoxes(self.tensor, clone=False).convert_to(dst_type)

    def rescale_(self, scale_factor: Sequence[float]) -> None:
        """Multiply x and y by one factor each."""
        boxes = self.tensor.numpy()
        x, y = scale_factor
        self.tensor = torch.from_numpy(boxes * np.array([x, y, x, y], boxes.dtype))

    def clip_(self, img_shape: Sequence[int]) -> None:
        """Cut to an image of (height, width), in place."""
        boxes = self.tensor.numpy()
        height, width = img_shape
        np.minimum(np.maximum(boxes, 0, out=boxes), np.array([width, height, width, height], boxes.dtype), out=boxes)

    def flip_(self, img_shape: Sequence[int], direction: str = "horizontal") -> None:
        """Mirror in an image of (height, width), in place; direction is "horizontal", "vertical" or "diagonal"."""
        boxes = self.tensor.numpy()
        for axis, directions in enumerate((("horizontal", "diagonal"), ("vertical", "diagonal"))):
            if direction in directions:
                boxes[..., axis::2] = img_shape[1 - axis] - boxes[..., axis::2][..., ::-1]


register_box_converter(HorizontalBoxes, InstanceBoxes, lambda boxes: boxes)
