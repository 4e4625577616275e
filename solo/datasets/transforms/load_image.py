"""Loads the image of a sample."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from solo.images.reading import as_bgr, read_annotated_image
from solo.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """Read `img_path` into `img` (H, W, 3) BGR uint8, unless `img` already is an array.

    When the annotation gives `height` and `width`, the image must have that size. EXIF orientation is applied unless
    only the unrotated pixels have the annotated size: then the annotation was made on the unrotated image. The header
    decides both before the image is decoded.

    Adds `img`, `img_shape` and `ori_shape` (H, W).
    """

    def __init__(self, *, max_pixels: int | None = None) -> None:
        """Set the limit.

        Args:
            max_pixels: As for `read_image`.
        """
        self.max_pixels = max_pixels

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """See the class.

        Raises:
            UnreadableImageError: The file is missing, truncated, too large or not an image.
            DataError: Its size is not the annotated one.
        """
        if results.get("img") is not None:
            image = as_bgr(np.asarray(results["img"]), results.get("img_path") or "given as an array")
        else:
            height, width = results.get("height"), results.get("width")
            annotated = None if height is None or width is None else (height, width)
            image = read_annotated_image(results["img_path"], annotated=annotated, max_pixels=self.max_pixels)
        results["img"] = image
        results["img_shape"] = results["ori_shape"] = image.shape[:2]
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(max_pixels={self.max_pixels})"
