"""Sigmoid focal loss and dice loss, one value an element: how they are reduced is the criterion's business.

Both know their derivative: a few passes over the elements in place of the dozen that a chain of operations takes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def sigmoid_focal_loss(logits: Tensor, targets: Tensor, *, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Binary focal loss (Lin et al. 2017, equation 5).

    Args:
        logits: (...), before the sigmoid.
        targets: (...) of the same shape, 0 or 1, any dtype.
        alpha: weight of the ones; the zeros have 1 - alpha.
        gamma: focusing exponent, not negative.

    Returns:
        (...) float32 loss of every element, which can be differentiated once.

    Raises:
        ValueError: targets of another shape.
    """
    _check_shapes(logits, targets)
    loss: Tensor = _SigmoidFocalLoss.apply(logits, targets.bool(), alpha, gamma, logits.requires_grad)  # type: ignore[no-untyped-call]
    return loss


class _SigmoidFocalLoss(torch.autograd.Function):
    """With z the logit of being wrong: weight * sigmoid(z)^gamma * softplus(z)."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, alpha: float, gamma: float, with_grad: bool) -> Tensor:
        ctx.input_type = logits.dtype
        logits = logits.float()
        wrong = torch.where(targets, -logits, logits)
        penalty, miss = F.softplus(wrong), wrong.sigmoid()
        weights = torch.where(targets, alpha, 1 - alpha) * miss**gamma
        if with_grad:
            slope = torch.addcmul(penalty, miss, penalty, value=-1).mul_(gamma).add_(miss).mul_(weights)
            ctx.save_for_backward(torch.where(targets, -slope, slope))
        return penalty.mul_(weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (slope,) = ctx.saved_tensors
        return (slope * grad).to(ctx.input_type), None, None, None, None


def dice_loss(logits: Tensor, targets: Tensor, *, eps: float = 1e-3) -> Tensor:
    """Dice loss with squared denominators (SOLO paper, section 3.3.2; V-Net).

    `1 - 2 sum(p t) / (sum(p^2) + sum(t^2) + 2 eps)`; eps is added to each of both sums, as the peers do.

    Args:
        logits: (P, ...) mask logits.
        targets: (P, ...) bool masks.
        eps: keeps an empty pair of masks defined.

    Returns:
        (P,) float32, which can be differentiated once.

    Raises:
        ValueError: targets of another shape, or not bool.
    """
    _check_shapes(logits, targets)
    if targets.dtype != torch.bool:
        raise ValueError(f"targets of the dice loss must be bool, got {targets.dtype}")
    loss: Tensor = _DiceLoss.apply(logits, targets, eps)  # type: ignore[no-untyped-call]
    return loss


class _DiceLoss(torch.autograd.Function):
    """With o = sum(p t) and d the denominator, the derivative by a logit is p (1 - p) (4 o / d^2 p - 2 / d t)."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, eps: float) -> Tensor:
        probabilities = logits.float().sigmoid().flatten(1)
        inside = _as_floats(targets)
        # A binary mask is its own square, and a norm needs no room for the squares.
        total = torch.linalg.vector_norm(probabilities, dim=1).square() + inside.sum(dim=1) + 2 * eps
        overlap = inside.mul_(probabilities).sum(dim=1)
        ctx.save_for_backward(probabilities, targets, overlap, total)
        ctx.like = logits.dtype, logits.shape
        return 1 - 2 * overlap / total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        probabilities, targets, overlap, total = ctx.saved_tensors
        by_target = -2 * grad / total
        by_probability = -2 * by_target * overlap / total
        # In place: masks are large, and beside them these are all that a crowded image needs memory for.
        slope = _as_floats(targets).mul_(by_target[:, None]).addcmul_(probabilities, by_probability[:, None])
        torch.ops.aten.sigmoid_backward.grad_input(slope, probabilities, grad_input=slope)
        dtype, shape = ctx.like
        return slope.view(shape).to(dtype), None, None


def _as_floats(masks: Tensor) -> Tensor:
    """(P, ...) bool to (P, pixels): bytes become floats several times faster than booleans do."""
    return masks.view(torch.uint8).flatten(1).float()


def _check_shapes(logits: Tensor, targets: Tensor) -> None:
    """Other shapes might broadcast, and train towards nonsense."""
    if logits.shape != targets.shape:
        raise ValueError(f"targets must have the logits' shape {tuple(logits.shape)}, got {tuple(targets.shape)}")
