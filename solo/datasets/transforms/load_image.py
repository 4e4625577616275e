"""Loads the image of a sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from solo.images.pixels import PixelFormat
from solo.images.reading import read_annotated_image
from solo.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """Read `img_path` into `img` (H, W, channels) uint8, BGR, unless `img` already is an array.

    When the annotation gives `height` and `width`, the image must have that size. EXIF orientation is applied unless
    only the unrotated pixels have the annotated size: then the annotation was made on the unrotated image. The header
    decides both before the image is decoded.

    Adds `img`, `img_shape` and `ori_shape` (H, W).

    Attributes:
        pixels: channels and scaling.
    """

    def __init__(
        self,
        *,
        channels: int = 3,
        value_range: Sequence[float] | None = None,
        percentiles: Sequence[float] | None = None,
        max_pixels: int | None = None,
    ) -> None:
        """Set channels, scaling and the limit.

        Args:
            channels: 3 for BGR, 1 for grayscale, or the number of bands to take as they are stored; also set
                `backbone.in_channels`, and `mean` and `std` of the preprocessor.
            value_range: (low, high), the values of images of more than 8 bits that become 0 and 255.
            percentiles: (low, high) in percent; the values of each channel at these become 0 and 255.
            max_pixels: As for `read_image`.

        Raises:
            ValueError: See `PixelFormat`.
        """
        self.pixels = PixelFormat(channels=channels, value_range=value_range, percentiles=percentiles)
        self.max_pixels = max_pixels

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """See the class.

        Raises:
            UnreadableImageError: The file is missing, truncated, too large or not an image.
            DataError: Its size is not the annotated one, or it has too few channels.
        """
        if results.get("img") is not None:
            image = self.pixels.convert(np.asarray(results["img"]), results.get("img_path") or "given as an array")
        else:
            height, width = results.get("height"), results.get("width")
            annotated = None if height is None or width is None else (height, width)
            image = read_annotated_image(
                results["img_path"], annotated=annotated, max_pixels=self.max_pixels, pixels=self.pixels
            )
        results["img"] = image
        results["img_shape"] = results["ori_shape"] = image.shape[:2]
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.pixels}, max_pixels={self.max_pixels})"
