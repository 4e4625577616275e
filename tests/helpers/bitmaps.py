"""Targets of full-size bitmaps: what the loader computes from column runs must equal, bit for bit."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from solo.masks.resize_taps import MASK_STRIDE


def downsample_masks(masks: Tensor, *, stride: int = MASK_STRIDE) -> Tensor:
    """Shrink binary masks as bilinear interpolation of 0/1 bytes does.

    Bilinear shrinking by an even number averages the 2x2 pixels in the middle of each block; rounded, the result is set
    when at least two of them are. Equal to `cv2.resize(..., INTER_LINEAR)` in the reference implementations.

    Args:
        masks: (N, H, W) bool. Sides that `stride` does not divide are padded with background at the bottom and right.
        stride: pixels per pixel of the result, even.

    Returns:
        (N, ceil(H/stride), ceil(W/stride)) bool.

    Raises:
        ValueError: a stride that is no even number above 0.
    """
    if stride < 2 or stride % 2:
        raise ValueError(f"masks are shrunk by an even number of pixels, at least 2, not by {stride}")
    height, width = masks.shape[-2:]
    masks = F.pad(masks, (0, -width % stride, 0, -height % stride))
    first, second = stride // 2 - 1, stride // 2
    upper, lower = masks[:, first::stride], masks[:, second::stride]
    a, b = upper[..., first::stride], upper[..., second::stride]
    c, d = lower[..., first::stride], lower[..., second::stride]
    # At least two of the four, in boolean terms: several times faster than a sum.
    return (a & b) | (c & d) | ((a | b) & (c | d))


def mass_centers(masks: Tensor) -> Tensor:
    """Mass centre of each mask: the mean coordinate of its pixels.

    Args:
        masks: (N, H, W) bool.

    Returns:
        (N, 2) float32, x y in pixels, NaN for an empty mask. Sums are integers and only the quotient is rounded.
    """
    # Sums over bool are slow in torch; these are the same integers.
    pixels = masks.view(torch.uint8)
    pixels_per_column = pixels.sum(dim=1, dtype=torch.int32).long()
    pixels_per_row = pixels.sum(dim=2, dtype=torch.int32).long()
    columns = torch.arange(masks.shape[2], device=masks.device)
    rows = torch.arange(masks.shape[1], device=masks.device)
    sums = torch.stack([(pixels_per_column * columns).sum(dim=1), (pixels_per_row * rows).sum(dim=1)], dim=1)
    return sums.float() / pixels_per_row.sum(dim=1, keepdim=True).float()
