"""Matrix NMS: soft suppression of overlapping masks in one matrix operation (SOLOv2 paper, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

BLOCK_MASKS = 64
"""Masks of several classes are compared in blocks of about this size, which is faster than class by class."""


def mask_intersections(masks: Tensor) -> Tensor:
    """Pixels that each pair of binary masks has in common, exact under any autocast.

    On a CPU products of bytes are added up as integers, several times faster than in float32. Elsewhere it is float32,
    which is exact up to 2**24 pixels; float16 overflows and bfloat16 rounds.

    Args:
        masks: (D, ...) bool.

    Returns:
        (D, D) float32.
    """
    flat = masks.flatten(1)
    # Torch 2.13 leaves products of single columns uninitialised.
    if flat.device.type == "cpu" and torch.backends.mkldnn.is_available() and flat.shape[1] > 1:
        signed = flat.view(torch.int8)
        return torch._int_mm(signed, signed.T).float()
    with torch.autocast(masks.device.type, enabled=False):
        return flat.float() @ flat.float().T


def mask_iou(masks: Tensor) -> Tensor:
    """Pairwise intersection over union of binary masks.

    Args:
        masks: (D, ...) bool.

    Returns:
        (D, D) float32, 0 for two empty masks.
    """
    intersections = mask_intersections(masks)
    areas = intersections.diagonal()
    return intersections / (areas[:, None] + areas[None, :] - intersections).clamp(min=1)


def matrix_nms(
    masks: Tensor,
    labels: Tensor,
    scores: Tensor,
    *,
    kernel: Literal["gaussian", "linear"] = "gaussian",
    sigma: float = 2.0,
) -> Tensor:
    """Decay each score by its overlap with better masks of its class, less so if those are suppressed themselves.

    For a mask j the decay is `min_i f(iou_ij) / f(max_k iou_ki)` over all masks i of its class with a higher score,
    where k runs over those better than i; f is `exp(-sigma * iou**2)` or `1 - iou`. Few pairs of different classes are
    compared, so that memory grows with the largest class, not with the square of D.

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
    if kernel not in ("gaussian", "linear"):
        raise ValueError(f"kernel must be 'gaussian' or 'linear', not {kernel!r}")
    if len(scores) == 0:
        return scores
    decay = torch.ones(len(scores), device=scores.device)
    by_label, order = labels.sort(stable=True)
    counts = by_label.unique_consecutive(return_counts=True)[1].tolist()
    for members, block_labels in zip(*(field.split(_block_sizes(counts)) for field in (order, by_label)), strict=True):
        iou = mask_iou(masks[members]) * (block_labels[:, None] == block_labels)
        decay[members] = _decay(iou, kernel=kernel, sigma=sigma)
    return scores * decay


def _block_sizes(counts: Sequence[int]) -> list[int]:
    """Sizes of blocks of whole classes with about `BLOCK_MASKS` masks each, given the counts of the classes."""
    sizes = [0]
    for count in counts:
        if sizes[-1] and sizes[-1] + count > BLOCK_MASKS:
            sizes.append(0)
        sizes[-1] += count
    return sizes


def _decay(iou: Tensor, *, kernel: str, sigma: float) -> Tensor:
    """(D,) factors from (D, D) overlaps, in which masks are sorted by score within each class; 0 between classes."""
    # Row i, column j: how much the better mask i overlaps the worse mask j.
    overlap = iou.triu(diagonal=1)
    compensation = overlap.amax(dim=0)[:, None]
    if kernel == "gaussian":
        decay = torch.exp(-sigma * (overlap**2 - compensation**2))
    else:
        # For an exact duplicate 1 - iou is 0: the clamp lets it suppress its own duplicates only.
        decay = (1 - overlap) / (1 - compensation).clamp(min=torch.finfo(overlap.dtype).eps)
    return decay.amin(dim=0)
