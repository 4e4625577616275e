"""Matrix NMS: soft suppression of overlapping masks in one matrix operation (SOLOv2 paper, section 3.3)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor


def mask_iou(masks: Tensor) -> Tensor:
    """Pairwise intersection over union of binary masks.

    Pixels are counted in float32 whatever the surrounding autocast says: a product of zeros and ones is exact there
    up to 2**24 pixels, whereas float16 overflows and bfloat16 rounds.

    Args:
        masks: (D, ...) bool.

    Returns:
        (D, D) float32, 0 for two empty masks.
    """
    with torch.autocast(masks.device.type, enabled=False):
        flat = masks.flatten(1).float()
        intersection = flat @ flat.T
        areas = flat.sum(dim=1)
        union = areas[:, None] + areas[None, :] - intersection
        return intersection / union.clamp(min=1)


def matrix_nms(
    masks: Tensor,
    labels: Tensor,
    scores: Tensor,
    *,
    kernel: Literal["gaussian", "linear"] = "gaussian",
    sigma: float = 2.0,
) -> Tensor:
    """Decay each score by its overlap with better masks of the same class, and by how suppressed those are themselves.

    For a mask j the decay is `min_i f(iou_ij) / f(max_k iou_ki)` over all masks i of its class with a higher score,
    where k runs over those better than i; f is `exp(-sigma * iou**2)` or `1 - iou`.

    Args:
        masks: (D, ...) bool, sorted by descending score.
        labels: (D,) int64.
        scores: (D,) float, descending.
        kernel: the decay function f.
        sigma: its width, for the gaussian kernel.

    Returns:
        (D,) decayed scores in the order of the input. Exact duplicates give 0 with the linear kernel, never NaN.

    Raises:
        ValueError: unknown kernel.
    """
    if len(scores) == 0:
        return scores
    # Row i, column j: how much the better mask i overlaps the worse mask j of its class.
    overlap = (mask_iou(masks) * (labels[:, None] == labels[None, :])).triu(diagonal=1)
    compensation = overlap.amax(dim=0)[:, None]
    if kernel == "gaussian":
        decay = torch.exp(-sigma * (overlap**2 - compensation**2))
    elif kernel == "linear":
        # A mask that another one fully hides has 1 - iou = 0 here: the clamp lets it suppress its own duplicates only.
        decay = (1 - overlap) / (1 - compensation).clamp(min=torch.finfo(overlap.dtype).eps)
    else:
        raise ValueError(f"kernel must be 'gaussian' or 'linear', not {kernel!r}")
    return scores * decay.amin(dim=0)
