"""Run-length encoding of bitmaps, as COCO writes it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from solo.ops import RLE, encode_bitmaps


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
