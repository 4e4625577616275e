"""Bitmaps on any device: binarised probabilities and tightest boxes."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from solo.masks.windows import chunk_pixels, mask_extents


class BinaryMasks(NamedTuple):
    """Binary masks with the values that score them."""

    masks: Tensor  # (D, h, w) bool
    areas: Tensor  # (D,) int64 pixels
    maskness: Tensor  # (D,) float32, the mean probability inside the mask, multiplies the class score; 0 if empty


def binarise_masks(probabilities: Tensor, *, threshold: float) -> BinaryMasks:
    """Threshold mask probabilities, and compute areas and maskness.

    Args:
        probabilities: (D, h, w) float. NaN, which an overflowing kernel produces, is outside every mask.
        threshold: a pixel belongs to the mask if its probability is larger; at least 0.
    """
    masks = torch.empty_like(probabilities, dtype=torch.bool)
    sums = torch.empty(len(probabilities), dtype=torch.float32, device=probabilities.device)
    pixels = probabilities.shape[1] * probabilities.shape[2]
    areas = torch.empty(len(probabilities), dtype=torch.int32, device=probabilities.device)
    # On a CPU each chunk is read several times while it is in the cache.
    step = max(1, chunk_pixels(masks.device) // max(1, pixels))
    for start in range(0, len(masks), step):
        part = slice(start, start + step)
        torch.gt(probabilities[part], threshold, out=masks[part])
        # Sums of bytes are several times faster in torch than those of booleans.
        torch.sum(masks[part].view(torch.uint8), dim=(1, 2), dtype=torch.int32, out=areas[part])
        # No `where` or product: slower.
        inside = F.threshold(probabilities[part].float(), threshold, 0.0).nan_to_num_(nan=0.0)
        torch.sum(inside, dim=(1, 2), out=sums[part])
    return BinaryMasks(masks=masks, areas=areas.long(), maskness=sums / areas.clamp(min=1).float())


def boxes_from_masks(masks: Tensor) -> Tensor:
    """Compute the tightest boxes around binary masks (D, H, W) bool.

    Returns:
        (D, 4) float32, x1 y1 x2 y2 in pixels; x2 and y2 are exclusive, so x2 - x1 is the width. Zeros if empty.
    """
    top, bottom, left, right = mask_extents(masks).unbind(1)
    occupied = (right > left) & (bottom > top)
    return (torch.stack([left, top, right, bottom], dim=1) * occupied[:, None]).float()
