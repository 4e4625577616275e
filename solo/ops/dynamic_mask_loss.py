"""Dynamic convolution and mask loss in one, chunk by chunk."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from solo.ops.dynamic_conv import kernel_size, neighborhoods
from solo.ops.mask_loss import MASK_LOSS_CHUNK_BYTES, MaskChunk, MaskLoss, MaskLossOnChunk, chunked_mask_loss


def dynamic_mask_loss(
    mask_feats: Tensor,
    kernels: Tensor,
    masks: Tensor,
    *,
    object_idx: Tensor,
    positives_per_image: Sequence[int],
    weights: Tensor,
    loss: MaskLoss,
    biases: Tensor | None = None,
    chunk_bytes: int = MASK_LOSS_CHUNK_BYTES,
) -> Tensor:
    """Weighted sum of the losses of dynamic masks: `sum(weights * loss(dynamic_conv(...), masks))`.

    Under autocast, or with half-precision inputs, the matrix products are in that type and the loss is in float32.
    With float16 the products of the gradient are in float32: float16 cannot hold gradients before the backward pass
    brings the loss scale.

    Args:
        mask_feats: (B, E, h, w) mask features; h and w are those of the logits that `loss` gets.
        kernels: (P, K) kernels of the positives, sorted by image, laid out as in `dynamic_conv`.
        masks: (sum of N, ...) bool masks of all objects, of the size that `loss` compares with.
        object_idx: (P,) int64 row of each positive's object in `masks`.
        positives_per_image: B integers that sum to P.
        weights: (P,) float32 factor of each positive's loss.
        loss: any differentiable function from (p, h, w) float32 logits and (p, ...) bool masks to (p,) float32 losses.
            Called once a chunk, outside autocast.
        biases: (P,) added to the logits of each positive's mask; None for none.
        chunk_bytes: largest size of a chunk's masks as float32; a chunk holds at least one mask.

    Returns:
        () float32, as `solo.ops.mask_loss.chunked_mask_loss`: it can be differentiated once.

    Raises:
        ValueError: K is no odd square multiple of E, or `loss` does not return one value a mask.
    """
    size = kernel_size(kernels.shape[1], channels=mask_feats.shape[1])
    inputs = [neighborhoods(mask_feats, size=size), kernels, *([] if biases is None else [biases])]
    height, width = mask_feats.shape[-2:]
    return chunked_mask_loss(
        partial(_KernelMasks, dtype=_product_type(inputs)),
        inputs,
        loss=MaskLossOnChunk(masks, object_idx, weights, loss, (height, width)),
        positives_per_image=positives_per_image,
        chunk_bytes=chunk_bytes,
    )


def _product_type(inputs: Sequence[Tensor]) -> torch.dtype:
    columns, kernels = inputs[:2]
    device = kernels.device.type
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return torch.promote_types(columns.dtype, kernels.dtype)


class _KernelMasks:
    """A `MaskSource`: products of (B, K, h * w) columns and (P, K) kernels, plus (P,) biases, in `dtype`."""

    def __init__(self, columns: Tensor, kernels: Tensor, biases: Tensor | None = None, *, dtype: torch.dtype) -> None:
        self._columns, self._kernels = columns.to(dtype), kernels.to(dtype)
        self._biases = None if biases is None else biases.to(dtype)
        self.gradient_dtype = torch.float32 if dtype == torch.float16 else dtype

    def maps(self, chunk: MaskChunk) -> Sequence[Tensor]:
        logits = self._columns.new_empty(chunk.rows.stop - chunk.rows.start, self._columns.shape[-1])  # (p, h * w)
        for rows in chunk.images:
            columns, kernels = self._columns[rows.image], self._kernels[rows.in_all]
            if self._biases is None:
                torch.mm(kernels, columns, out=logits[rows.in_chunk])
            else:
                torch.addmm(self._biases[rows.in_all, None], kernels, columns, out=logits[rows.in_chunk])
        return [logits.float()]

    def logits(self, maps: Sequence[Tensor]) -> Tensor:
        return maps[0]

    def add_gradients(self, chunk: MaskChunk, by_maps: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        by_logits = by_maps[0].to(self.gradient_dtype)
        for rows in chunk.images:
            slope = by_logits[rows.in_chunk]  # (p, h * w)
            columns, kernels = (x.to(slope.dtype) for x in (self._columns[rows.image], self._kernels[rows.in_all]))
            torch.mm(slope, columns.T, out=gradients[1][rows.in_all])
            gradients[0][rows.image].addmm_(kernels.T, slope)
            if self._biases is not None:
                torch.sum(slope, dim=1, out=gradients[2][rows.in_all])
