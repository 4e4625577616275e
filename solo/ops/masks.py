"""Masks: shrink, measure, resize, and take boxes from them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MASK_STRIDE = 4
"""Input pixels per pixel of the mask features, along each axis."""


def downsample_masks(masks: Tensor) -> Tensor:
    """Shrink binary masks to stride 4 as bilinear interpolation of 0/1 bytes does.

    Bilinear shrinking by four averages the 2x2 pixels in the middle of each 4x4 block; rounded, the result is set
    when at least two of them are. Equal to `cv2.resize(..., INTER_LINEAR)` of the peers.

    Args:
        masks: (N, H, W) bool. Sides that four does not divide are padded with background at the bottom and right.

    Returns:
        (N, ceil(H/4), ceil(W/4)) bool.
    """
    height, width = masks.shape[-2:]
    masks = F.pad(masks, (0, -width % MASK_STRIDE, 0, -height % MASK_STRIDE))
    upper, lower = masks[:, 1::MASK_STRIDE], masks[:, 2::MASK_STRIDE]
    a, b = upper[..., 1::MASK_STRIDE], upper[..., 2::MASK_STRIDE]
    c, d = lower[..., 1::MASK_STRIDE], lower[..., 2::MASK_STRIDE]
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


def maskness(probabilities: Tensor, masks: Tensor) -> Tensor:
    """Mean probability inside the binary mask, the measure of a mask's quality that multiplies the class score.

    Args:
        probabilities: (D, h, w) float.
        masks: (D, h, w) bool.

    Returns:
        (D,) float32, 0 for an empty mask.
    """
    # Not a product: a NaN outside the mask, which an overflowing kernel draws, would spread.
    inside = torch.where(masks, probabilities.float(), 0)
    return inside.sum(dim=(1, 2)) / masks.sum(dim=(1, 2)).clamp(min=1)


def resize_masks(
    probabilities: Tensor, *, image_size: tuple[int, int], original_size: tuple[int, int], threshold: float
) -> Tensor:
    """Bring mask probabilities at stride 4 to the original picture and binarise them there.

    Bilinear x4 to the padded input, the padding cut off, bilinear to the original size, `> threshold`: as the peers.
    One mask at a time, so that memory does not grow with the number of detections.

    Args:
        probabilities: (D, h, w) float.
        image_size: (height, width) of the network input without its padding, pixels.
        original_size: (height, width) of the picture, pixels.
        threshold: a pixel belongs to the mask if its probability is larger.

    Returns:
        (D, *original_size) bool.
    """
    masks = torch.zeros((len(probabilities), *original_size), dtype=torch.bool, device=probabilities.device)
    height, width = image_size
    padded_size = [side * MASK_STRIDE for side in probabilities.shape[-2:]]
    for mask, probability in zip(masks, probabilities.float(), strict=True):
        enlarged = F.interpolate(probability[None, None], size=padded_size, mode="bilinear")[..., :height, :width]
        mask.copy_(F.interpolate(enlarged, size=original_size, mode="bilinear")[0, 0] > threshold)
    return masks


def boxes_from_masks(masks: Tensor) -> Tensor:
    """Tightest boxes around binary masks.

    Args:
        masks: (D, H, W) bool.

    Returns:
        (D, 4) float32, x1 y1 x2 y2 in pixels; x2 and y2 are exclusive, so x2 - x1 is the width. Zeros if empty.
    """
    sides = [_extent(masks.any(dim=axis)) for axis in (1, 2)]
    (left, right), (top, bottom) = sides
    return torch.stack([left, top, right, bottom], dim=1).float()


def _extent(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """First set position and last set position + 1 along the last axis of (D, L) bool: two (D,), 0 where none is."""
    positions = torch.arange(occupied.shape[1], device=occupied.device)
    last = ((positions + 1) * occupied).amax(dim=1)
    first = torch.where(occupied, positions, occupied.shape[1]).amin(dim=1)
    return torch.minimum(first, last), last
