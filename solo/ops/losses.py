"""Sigmoid focal loss and dice loss, one value an element: how they are reduced is the criterion's business."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def sigmoid_focal_loss(logits: Tensor, targets: Tensor, *, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Binary focal loss (Lin et al. 2017, equation 5).

    Args:
        logits: (...), before the sigmoid.
        targets: (...) of the same shape, 0 or 1, any dtype.
        alpha: weight of the ones; the zeros have 1 - alpha.
        gamma: focusing exponent.

    Returns:
        (...) float32 loss of every element.
    """
    logits, targets = logits.float(), targets.float()
    probabilities = logits.sigmoid()
    miss = probabilities + targets - 2 * probabilities * targets
    weights = (1 - alpha + (2 * alpha - 1) * targets) * miss**gamma
    return weights * F.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def dice_loss(logits: Tensor, targets: Tensor, *, eps: float = 1e-3) -> Tensor:
    """Dice loss with squared denominators (SOLO paper, section 3.3.2; V-Net).

    `1 - 2 sum(p t) / (sum(p^2) + sum(t^2) + 2 eps)`; eps is added to each of both sums, as the peers do.

    Args:
        logits: (P, ...) mask logits.
        targets: (P, ...) bool masks.
        eps: keeps an empty pair of masks defined.

    Returns:
        (P,) float32.
    """
    probabilities = logits.float().sigmoid().flatten(1)
    targets = targets.flatten(1)
    overlap = (probabilities * targets).sum(dim=1)
    # A binary mask is its own square.
    total = (probabilities**2).sum(dim=1) + targets.sum(dim=1) + 2 * eps
    return 1 - 2 * overlap / total
