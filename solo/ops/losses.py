"""Losses of classes and masks: one value an element or mask, which the criterion sums."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def sigmoid_focal_loss(logits: Tensor, targets: Tensor, *, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Binary focal loss (Lin et al. 2017, equation 5).

    Args:
        logits: (...), before the sigmoid.
        targets: (...) of the same shape, 0 or 1, any dtype.
        alpha: weight of the ones; the zeros have 1 - alpha.
        gamma: focusing exponent, not negative.

    Returns:
        (...) float32 loss of every element.

    Raises:
        ValueError: targets of another shape.
    """
    _check_shapes(logits, targets)
    targets, logits = targets.bool(), logits.float()
    # The logit of the wrong answer: no probability is subtracted from 1, which would cost digits.
    wrong = torch.where(targets, -logits, logits)
    weights = torch.where(targets, alpha, 1 - alpha)
    # Below gamma = 1 the power has an infinite derivative at 0, to which the sigmoid underflows.
    probabilities = wrong.sigmoid().clamp(min=torch.finfo(torch.float32).tiny)
    return weights * probabilities**gamma * F.softplus(wrong)


def quality_focal_loss(logits: Tensor, quality: Tensor, *, beta: float = 2.0) -> Tensor:
    """Quality focal loss (Li et al. 2020, Generalized Focal Loss, equation 2).

    `|q - p|^beta * BCE(p, q)`: the score of a cell learns the quality of its mask in place of 1.

    Args:
        logits: (...), before the sigmoid.
        quality: (...) of the same shape, float32 in [0, 1]; 0 where the class is absent.
        beta: focusing exponent, at least 1.

    Returns:
        (...) float32 loss of every element.

    Raises:
        ValueError: qualities of another shape.
    """
    _check_shapes(logits, quality)
    logits = logits.float()
    entropy = F.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    return (quality - logits.sigmoid()).abs() ** beta * entropy


def dice_loss(logits: Tensor, targets: Tensor, *, eps: float = 1e-3) -> Tensor:
    """Dice loss with squared denominators (SOLO paper, section 3.3.2; V-Net).

    `1 - 2 sum(p t) / (sum(p^2) + sum(t^2) + 2 eps)`; eps is added to each of both sums, as in the reference
    implementations.

    Args:
        logits: (P, ...) mask logits.
        targets: (P, ...) bool masks.
        eps: keeps an empty pair of masks defined.

    Returns:
        (P,) float32.

    Raises:
        ValueError: targets of another shape, or not bool.
    """
    _check_masks(logits, targets)
    probabilities = logits.float().sigmoid().flatten(1)  # (P, pixels)
    # Bytes become floats several times faster than booleans do; a binary mask is its own square.
    inside = targets.view(torch.uint8).flatten(1).float()
    overlap = torch.linalg.vecdot(probabilities, inside)
    total = torch.linalg.vecdot(probabilities, probabilities) + inside.sum(dim=1) + 2 * eps
    return 1 - 2 * overlap / total


def boundary_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean binary cross-entropy of the pixels on either side of a mask's boundary.

    A pixel is at the boundary if its 3x3 neighbourhood holds pixels of the mask and others. Where the image ends there
    is no boundary. The dice loss of a large mask hardly depends on these pixels, which decide whether it is exact.

    Args:
        logits: (P, h, w) mask logits.
        targets: (P, h, w) bool masks.

    Returns:
        (P,) float32; 0 for a mask without boundary.

    Raises:
        ValueError: targets of another shape, or not bool.
    """
    _check_masks(logits, targets)
    boundary = (_grow(targets) & _grow(~targets)).view(torch.uint8).flatten(1).float()  # (P, pixels)
    inside = targets.view(torch.uint8).float()
    entropy = F.binary_cross_entropy_with_logits(logits.float(), inside, reduction="none").flatten(1)
    return torch.linalg.vecdot(entropy, boundary) / boundary.sum(dim=1).clamp(min=1)


def _grow(masks: Tensor) -> Tensor:
    """Add to bool masks (P, h, w) the eight neighbours of each pixel; max pooling is ten times slower on a CPU."""
    for dim in (1, 2):
        first, last = masks.narrow(dim, 0, masks.shape[dim] - 1), masks.narrow(dim, 1, masks.shape[dim] - 1)
        grown = masks.clone()
        grown.narrow(dim, 0, masks.shape[dim] - 1).logical_or_(last)
        grown.narrow(dim, 1, masks.shape[dim] - 1).logical_or_(first)
        masks = grown
    return masks


def matched_mask_iou(logits: Tensor, targets: Tensor) -> Tensor:
    """IoU (P,) float32 of the masks (P, h, w) whose logits are positive with bool `targets` of the same shape.

    Two empty masks have IoU 0.
    """
    masks = logits > 0
    intersection = (masks & targets).flatten(1).sum(dim=1)
    return intersection / (masks | targets).flatten(1).sum(dim=1).clamp(min=1)


def _check_masks(logits: Tensor, targets: Tensor) -> None:
    _check_shapes(logits, targets)
    if targets.dtype != torch.bool:
        raise ValueError(f"targets of a mask loss must be bool, got {targets.dtype}")


def _check_shapes(logits: Tensor, targets: Tensor) -> None:
    """Other shapes might broadcast, and train towards nonsense."""
    if logits.shape != targets.shape:
        raise ValueError(f"targets must have the logits' shape {tuple(logits.shape)}, got {tuple(targets.shape)}")
