"""Preprocessor: from a list of uint8 images to a normalised, padded batch on the model's device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from solo.registry import MODELS

SIZE_DIVISOR = 32
"""Stride of the network's coarsest map: other sizes would not match after downsampling and upsampling."""


@MODELS.register_module()
class ImagePreprocessor(BaseDataPreprocessor):
    """Normalise each image, and zero-pad all at the bottom and right to one size divisible by 32.

    Images are sent to the device as bytes. Samples are returned unchanged: the assigner reads arrays.

    Args:
        mean: Mean of each channel, in the order after the swap, in units of 0 to 255.
        std: Standard deviation of each channel, likewise.
        bgr_to_rgb: Convert BGR images to RGB: swap the first and the third channel.
        padded_sizes: (H, W) of batches in training: each is padded to the smallest of these that holds its images, or
            as above if none does. Multi-scale training then has few sizes, which bounds how often `torch.compile`
            compiles and cuDNN searches, at the cost of computing on the padding. None pads as above.

    Raises:
        ValueError: 32 does not divide a padded size, mean and std differ in length, or channels are swapped that are
            not there.
    """

    def __init__(
        self,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        bgr_to_rgb: bool = True,
        padded_sizes: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__(non_blocking=True)
        if len(mean) != len(std) or not mean or (bgr_to_rgb and len(mean) < 3):
            raise ValueError(
                f"mean and std need one number for each channel, got {len(mean)} and {len(std)}; bgr_to_rgb needs three"
            )
        for size in padded_sizes or ():
            if len(size) != 2 or any(side % SIZE_DIVISOR or side <= 0 for side in size):
                raise ValueError(f"padded_sizes are (H, W) divisible by {SIZE_DIVISOR}; got {tuple(size)}")
        self.padded_sizes = sorted(((height, width) for height, width in padded_sizes or ()), key=math.prod)
        self.bgr_to_rgb = bgr_to_rgb
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Prepare a batch.

        Args:
            data: `inputs`, a list of (C, H, W) images of any size; `data_samples`, a list of as many samples, or None.
            training: Whether `padded_sizes` apply.

        Returns:
            `inputs` (B, C, H, W) in the type of the model's weights, and the given `data_samples`.
        """
        for image in data["inputs"]:
            if len(image) != len(self.mean):
                raise ValueError(
                    f"an image has {len(image)} channels, but model.data_preprocessor.mean has {len(self.mean)}: set "
                    "LoadImage(channels=...) in every pipeline, mean, std and model.backbone.in_channels alike"
                )
        images = [self._normalize(image) for image in data["inputs"]]
        height, width = self._padded_size(images, self.padded_sizes if training else [])
        batch = torch.stack([F.pad(i, (0, width - i.shape[-1], 0, height - i.shape[-2])) for i in images])
        return {"inputs": batch, "data_samples": data.get("data_samples")}

    def _padded_size(self, images: Sequence[Tensor], sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
        height, width = (max(image.shape[axis] for image in images) for axis in (-2, -1))
        smallest = (height + -height % SIZE_DIVISOR, width + -width % SIZE_DIVISOR)
        return next((size for size in sizes if size[0] >= height and size[1] >= width), smallest)

    def _normalize(self, image: Tensor) -> Tensor:
        # Images are transposed views of (H, W, C) arrays; to copy them is fastest on the device.
        image = image.to(self.device, non_blocking=True).contiguous()
        if self.bgr_to_rgb:
            image = torch.cat([image[:3].flip(0), image[3:]]) if len(image) > 3 else image.flip(0)
        # Half-precision weights (`model.bfloat16()`) need inputs of their own dtype.
        return ((image.float() - self.mean) / self.std).to(self.mean.dtype)
