"""Run-length encoding of bitmaps, as COCO writes it."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import torch
from pycocotools import mask as mask_api
from torch import Tensor


class RLE(TypedDict):
    """A compressed COCO run-length encoding: `size` is [height, width] in pixels, `counts` is ASCII text."""

    size: list[int]
    counts: str


def encode_masks(masks: Tensor | np.ndarray) -> list[RLE]:
    """Encode bitmaps; the column-major copy that COCO needs is made once for all of them, on the masks' device.

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
    if len(tensor) == 0:
        return []
    columns_first = tensor.transpose(1, 2).contiguous().view(torch.uint8).cpu().numpy()
    encoded = mask_api.encode(columns_first.transpose(2, 1, 0))
    return [RLE(size=[int(side) for side in rle["size"]], counts=rle["counts"].decode("ascii")) for rle in encoded]
