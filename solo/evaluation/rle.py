"""Run-length encoding of bitmaps, as COCO writes it, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from pycocotools import mask as mask_api
from torch import Tensor

from solo.masks.mask_bits import unpack_bits
from solo.masks.rle import RLE, encode_bitmaps

# pycocotools puts the number of masks into a byte on the way.
_AREAS_AT_ONCE = 255

UNPACKED_PIXELS = 2**25
"""About how many pixels of packed masks are unpacked at once."""


def encode_masks(masks: Tensor | np.ndarray) -> list[RLE]:
    """Encode bitmaps on their device; no copy of them is made.

    Args:
        masks: bool (or uint8 of zeros and ones), shape (D, H, W).

    Returns:
        D encodings; an empty list when D is 0.

    Raises:
        ValueError: masks is not three-dimensional, or holds another dtype.
    """
    tensor = torch.from_numpy(masks) if isinstance(masks, np.ndarray) else masks
    if tensor.ndim != 3:
        raise ValueError(f"masks must have shape (D, H, W), got {tuple(tensor.shape)}")
    if tensor.dtype not in (torch.bool, torch.uint8):
        raise ValueError(f"masks must be bool or uint8, got {tensor.dtype}")
    return encode_bitmaps(tensor.view(torch.bool)).rles


def encode_bits(bits: Tensor, *, width: int) -> list[RLE]:
    """Encode packed bitmaps, a few at a time.

    Args:
        bits: (D, H, ceil(width / 8)) uint8 as `solo.ops.pack_bits` packs them.
        width: of the bitmaps, pixels.

    Returns:
        D encodings; an empty list when D is 0.

    Raises:
        ValueError: bits is not uint8, or its rows are not of that width.
    """
    at_once = max(1, UNPACKED_PIXELS // max(1, bits.shape[1] * width))
    return [rle for part in bits.split(at_once) for rle in encode_masks(unpack_bits(part, width=width))]


def areas_of_masks(rles: Sequence[RLE]) -> np.ndarray:
    """Pixels of encoded masks.

    Args:
        rles: D encodings.

    Returns:
        (D,) float64.
    """
    parts = [rles[start : start + _AREAS_AT_ONCE] for start in range(0, len(rles), _AREAS_AT_ONCE)]
    return np.array([area for part in parts for area in mask_api.area(list(part))], np.float64)


def decode_masks(rles: Sequence[RLE], *, size: tuple[int, int]) -> np.ndarray:
    """Bitmaps of encodings.

    Args:
        rles: D encodings.
        size: (height, width) of each, pixels.

    Returns:
        (D, height, width) bool.

    Raises:
        ValueError: an encoding has another size.
    """
    masks = np.zeros((len(rles), *size), dtype=bool)
    for mask, rle in zip(masks, rles, strict=True):
        if tuple(rle["size"]) != tuple(size):
            raise ValueError(f"an encoded mask has the size {tuple(rle['size'])}, expected {tuple(size)}")
        mask[:] = mask_api.decode(rle)
    return masks
