"""Decoupled SOLO's masks, products of two probabilities, and their loss, chunk by chunk."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from solo.ops.mask_loss import MASK_LOSS_CHUNK_BYTES, MaskChunk, MaskLoss, MaskLossOnChunk, chunked_mask_loss

SMALLEST_NEG_LOG = 1e-30
"""Lower bound on -log(p) that keeps the logit finite."""


def product_logits(x_logits: Tensor, y_logits: Tensor) -> Tensor:
    """Logits of `sigmoid(x_logits) * sigmoid(y_logits)`, precise where the product is near 0 or 1.

    Args:
        x_logits: (...).
        y_logits: (...) of the same shape.

    Returns:
        (...) float32.
    """
    neg_log = (F.softplus(-x_logits.float()) + F.softplus(-y_logits.float())).clamp(min=SMALLEST_NEG_LOG)  # -log(p)
    complement = -torch.expm1(-neg_log)  # 1 - p
    return -(neg_log + complement.log())


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
        () float32, as `solo.ops.mask_loss.chunked_mask_loss`: it can be differentiated once.

    Raises:
        ValueError: `loss` does not return one value a mask.
    """
    height, width = x_logits.shape[-2:]
    indices = [image_idx * side.shape[1] + idx for side, idx in ((x_logits, x_idx), (y_logits, y_idx))]
    return chunked_mask_loss(
        partial(_ProductMasks, indices=indices),
        [side.flatten(2).flatten(0, 1) for side in (x_logits, y_logits)],
        loss=MaskLossOnChunk(masks, object_idx, weights, loss, (height, width)),
        positives_per_image=[len(image_idx)],
        chunk_bytes=chunk_bytes,
    )


class _ProductMasks:
    """A `MaskSource`: (B * G, h * w) logits of all columns and of all rows of cells, (P,) indices into both."""

    gradient_dtype = torch.float32

    def __init__(self, x_logits: Tensor, y_logits: Tensor, *, indices: Sequence[Tensor]) -> None:
        self._sides, self._indices = (x_logits, y_logits), indices

    def maps(self, chunk: MaskChunk) -> Sequence[Tensor]:
        return [side[idx[chunk.rows]].float() for side, idx in zip(self._sides, self._indices, strict=True)]

    def logits(self, maps: Sequence[Tensor]) -> Tensor:
        return product_logits(*maps)

    def add_gradients(self, chunk: MaskChunk, by_maps: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        for gradient, idx, by_map in zip(gradients, self._indices, by_maps, strict=True):
            gradient.index_add_(0, idx[chunk.rows], by_map)
