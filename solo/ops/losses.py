"""Sigmoid focal loss and dice loss: one value an element or mask, which the criterion sums."""

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
    _check_shapes(logits, targets)
    if targets.dtype != torch.bool:
        raise ValueError(f"targets of the dice loss must be bool, got {targets.dtype}")
    probabilities = logits.float().sigmoid().flatten(1)  # (P, pixels)
    # Bytes become floats several times faster than booleans do; a binary mask is its own square.
    inside = targets.view(torch.uint8).flatten(1).float()
    overlap = torch.linalg.vecdot(probabilities, inside)
    total = torch.linalg.vecdot(probabilities, probabilities) + inside.sum(dim=1) + 2 * eps
    return 1 - 2 * overlap / total


def _check_shapes(logits: Tensor, targets: Tensor) -> None:
    """Other shapes might broadcast, and train towards nonsense."""
    if logits.shape != targets.shape:
        raise ValueError(f"targets must have the logits' shape {tuple(logits.shape)}, got {tuple(targets.shape)}")
