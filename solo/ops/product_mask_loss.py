"""Decoupled SOLO's masks, products of two probabilities, and their loss, a few masks at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from solo.ops.mask_loss import MASK_LOSS_CHUNK_BYTES, Chunk, Judge, MaskLoss, chunks_of

SMALLEST_DOUBT = 1e-30
"""Where -log(p) is smaller, p is 1 in every respect: the logit stays finite."""


def product_logits(x_logits: Tensor, y_logits: Tensor) -> Tensor:
    """The logits of `sigmoid(x_logits) * sigmoid(y_logits)`, without a loss of precision where that is near 0 or 1.

    Args:
        x_logits: (...).
        y_logits: (...) of the same shape.

    Returns:
        (...) float32.
    """
    return _product_logits(*_doubts(x_logits, y_logits))


def product_mask_loss(
    x_logits: Tensor,
    y_logits: Tensor,
    masks: Tensor,
    *,
    image_idx: Tensor,
    x_idx: Tensor,
    y_idx: Tensor,
    object_idx: Tensor,
    weights: Tensor,
    loss: MaskLoss,
    chunk_bytes: int = MASK_LOSS_CHUNK_BYTES,
) -> Tensor:
    """Weighted sum of the losses of product masks: `sum(weights * loss(product_logits(x, y), masks))`.

    As `dynamic_mask_loss` it computes its gradient along with the loss, chunk by chunk, and keeps nothing else. The
    loss gets logits, as all mask losses do, though the masks are drawn as products of probabilities.

    Args:
        x_logits: (B, G, h, w) logits of the columns of cells.
        y_logits: (B, G, h, w) logits of the rows of cells.
        masks: (sum of N, h, w) bool masks of all objects.
        image_idx: (P,) int64 image of each positive.
        x_idx: (P,) int64 column of each positive's cell.
        y_idx: (P,) int64 row of each positive's cell.
        object_idx: (P,) int64 row of each positive's object in `masks`.
        weights: (P,) float32 factor of each positive's loss.
        loss: as in `dynamic_mask_loss`.
        chunk_bytes: as in `dynamic_mask_loss`.

    Returns:
        () float32. Without a positive it is 0 and all its gradients are zeros. It can be differentiated once.

    Raises:
        ValueError: `loss` does not return one value a mask.
    """
    judge = Judge(masks, object_idx, weights, loss, x_logits.shape[-2:])
    chunks = chunks_of([len(image_idx)], largest=judge.largest_chunk(chunk_bytes))
    with_grad = torch.is_grad_enabled() and (x_logits.requires_grad or y_logits.requires_grad)
    total: Tensor = _ProductMaskLoss.apply(  # type: ignore[no-untyped-call]
        x_logits.flatten(2).flatten(0, 1),
        y_logits.flatten(2).flatten(0, 1),
        image_idx * x_logits.shape[1] + x_idx,
        image_idx * y_logits.shape[1] + y_idx,
        judge,
        chunks,
        with_grad,
    )
    return total


class _Axis(NamedTuple):
    """The (B * G, h * w) logits of all columns or of all rows, and which of them each of P positives has."""

    logits: Tensor
    chosen: Tensor


def _chunk_loss(axes: Sequence[_Axis], rows: slice, judge: Judge, gradients: Sequence[Tensor] | None) -> Tensor:
    """Loss of a chunk; adds its share to the gradients by the logits of both axes."""
    drawn = [axis.logits[axis.chosen[rows]] for axis in axes]
    doubt, complement = _doubts(*drawn)
    loss, slope = judge(_product_logits(doubt, complement), rows, with_grad=gradients is not None)
    if gradients is not None:
        slope /= complement
        for gradient, axis, logits in zip(gradients, axes, drawn, strict=True):
            gradient.index_add_(0, axis.chosen[rows], slope * torch.sigmoid(-logits.float()))
    return loss


def _doubts(x_logits: Tensor, y_logits: Tensor) -> tuple[Tensor, Tensor]:
    """-log of the product p of both probabilities, and 1 - p."""
    doubt = (F.softplus(-x_logits.float()) + F.softplus(-y_logits.float())).clamp_(min=SMALLEST_DOUBT)
    return doubt, -torch.expm1(-doubt)


def _product_logits(doubt: Tensor, complement: Tensor) -> Tensor:
    """log(p) - log(1 - p)."""
    return -(doubt + complement.log())


class _ProductMaskLoss(torch.autograd.Function):
    """(B * G, h * w) logits of columns and rows to the summed loss; both gradients are computed along with it."""

    @staticmethod
    def forward(
        ctx: Any,
        x_logits: Tensor,
        y_logits: Tensor,
        x_idx: Tensor,
        y_idx: Tensor,
        judge: Judge,
        chunks: list[Chunk],
        with_grad: bool,
    ) -> Tensor:
        axes = [_Axis(x_logits, x_idx), _Axis(y_logits, y_idx)]
        gradients = [torch.zeros_like(axis.logits, dtype=torch.float32) for axis in axes] if with_grad else None
        total = torch.zeros((), device=x_logits.device)
        with torch.autocast(x_logits.device.type, enabled=False):
            for chunk in chunks:
                total += _chunk_loss(axes, chunk.rows, judge, gradients)
        ctx.gradients, ctx.input_type = gradients, x_logits.dtype
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("the mask loss can be differentiated once: compute it again for another backward pass")
        scaled = [saved.mul_(grad).to(ctx.input_type) for saved in ctx.gradients]
        ctx.gradients = None
        return *scaled, None, None, None, None, None
