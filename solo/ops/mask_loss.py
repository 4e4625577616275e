"""Dynamic convolution and mask loss in one, a few masks at a time: memory does not grow with the positives."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from solo.ops.dynamic_conv import kernel_size, neighborhoods

MaskLoss = Callable[[Tensor, Tensor], Tensor]
MASK_LOSS_CHUNK_BYTES = 16 * 2**20
"""Enough rows for full speed of the matrix products, and little enough that an allocator reuses the memory."""


def dynamic_mask_loss(
    mask_feats: Tensor,
    kernels: Tensor,
    masks: Tensor,
    *,
    object_idx: Tensor,
    positives_per_image: Sequence[int],
    weights: Tensor,
    loss: MaskLoss,
    chunk_bytes: int = MASK_LOSS_CHUNK_BYTES,
) -> Tensor:
    """Weighted sum of the losses of the masks that kernels draw: `sum(weights * loss(dynamic_conv(...), masks))`.

    The gradient of a mask's logits is known as soon as its loss is. So the forward pass computes both, chunk by chunk,
    adds the chunk's share to the gradients of kernels and features, and forgets the logits; the backward pass only
    scales. Beside those two gradients memory is that of one chunk, whatever the number of positives.

    Under autocast, or with half-precision inputs, the matrix products are in that type and the loss is in float32.
    The products of the gradient are in float32 where that type is float16: its range cannot hold gradients before
    they are scaled, and the scale comes with the backward pass.

    Args:
        mask_feats: (B, E, h, w) mask features.
        kernels: (P, K) kernels of the positives, sorted by image, laid out as in `dynamic_conv`.
        masks: (sum of N, h, w) bool masks of all objects.
        object_idx: (P,) int64 row of each positive's object in `masks`.
        positives_per_image: B integers that sum to P.
        weights: (P,) float32 factor of each positive's loss.
        loss: any differentiable function from (p, h, w) float32 logits and bool masks to (p,) float32 losses. Called
            once a chunk, outside autocast.
        chunk_bytes: largest size of a chunk's float32 logits; a chunk is of one image and holds one mask at least.

    Returns:
        () float32. Without a positive it is 0 and all its gradients are zeros. It can be differentiated once: double
        backward and a second backward pass through the same result are a RuntimeError.

    Raises:
        ValueError: K is no odd square multiple of E, or `loss` does not return one value a mask.
    """
    size = kernel_size(kernels.shape[1], channels=mask_feats.shape[1])
    largest = max(chunk_bytes // (mask_feats[0, 0].numel() * torch.float32.itemsize), 1)
    judge = _Judge(masks, object_idx, weights, loss)
    with_grad = torch.is_grad_enabled() and (mask_feats.requires_grad or kernels.requires_grad)
    total: Tensor = _DynamicMaskLoss.apply(  # type: ignore[no-untyped-call]
        neighborhoods(mask_feats, size=size), kernels, judge, _chunks(positives_per_image, largest), with_grad
    )
    return total


class _Chunk(NamedTuple):
    """Some positives of one image; `first` of that image or not."""

    image: int
    rows: slice
    first: bool


def _chunks(positives_per_image: Sequence[int], largest: int) -> list[_Chunk]:
    """All positives in order, those of an image in chunks of about equal size."""
    chunks, start = [], 0
    for image, count in enumerate(positives_per_image):
        number = -(-count // largest)
        borders = [start + count * part // max(number, 1) for part in range(number + 1)]
        chunks += [_Chunk(image, slice(*ends), ends[0] == start) for ends in itertools.pairwise(borders)]
        start += count
    return chunks


class _Judge(NamedTuple):
    """What drawn masks are compared with and how, see `dynamic_mask_loss`."""

    masks: Tensor
    object_idx: Tensor
    weights: Tensor
    loss: MaskLoss

    def __call__(self, logits: Tensor, rows: slice, *, with_grad: bool) -> tuple[Tensor, Tensor]:
        """Weighted loss () of drawn masks (p, h * w), and its gradient by them: empty unless it is wanted."""
        targets = self.masks[self.object_idx[rows]]
        logits = logits.float().view(targets.shape).requires_grad_(with_grad)
        with torch.set_grad_enabled(with_grad):
            losses = self.loss(logits, targets)
        if losses.shape != targets.shape[:1]:
            raise ValueError(f"a mask loss must return one value a mask, ({len(targets)},); got {tuple(losses.shape)}")
        weights = self.weights[rows]
        slope = torch.autograd.grad(losses, logits, weights)[0] if with_grad else logits[:0]
        return losses.detach().dot(weights), slope.flatten(1)


class _DynamicMaskLoss(torch.autograd.Function):
    """(B, K, h * w) columns and (P, K) kernels to the summed loss; both gradients are computed along with it."""

    @staticmethod
    def forward(
        ctx: Any, columns: Tensor, kernels: Tensor, judge: _Judge, chunks: list[_Chunk], with_grad: bool
    ) -> Tensor:
        ctx.input_types = columns.dtype, kernels.dtype
        columns, kernels = (x.to(_product_type(columns, kernels)) for x in (columns, kernels))
        gradients = _empty_gradients(columns, kernels, chunks) if with_grad else None
        total = torch.zeros((), device=kernels.device)
        with torch.autocast(kernels.device.type, enabled=False):
            for chunk in chunks:
                total += _chunk_loss(chunk, columns[chunk.image], kernels[chunk.rows], judge, gradients)
        ctx.gradients = gradients
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("the mask loss can be differentiated once: compute it again for another backward pass")
        # In place: another tensor of the features' size takes longer to allocate than the scaling itself.
        scaled = [saved.mul_(grad).to(dtype) for saved, dtype in zip(ctx.gradients, ctx.input_types, strict=True)]
        ctx.gradients = None
        return *scaled, None, None, None


def _product_type(columns: Tensor, kernels: Tensor) -> torch.dtype:
    device = kernels.device.type
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return torch.promote_types(columns.dtype, kernels.dtype)


def _empty_gradients(columns: Tensor, kernels: Tensor, chunks: list[_Chunk]) -> tuple[Tensor, Tensor]:
    """Gradients by columns and kernels, not filled but for the images that no chunk will write."""
    dtype = torch.float32 if kernels.dtype == torch.float16 else kernels.dtype
    by_columns, by_kernels = (torch.empty(x.shape, dtype=dtype, device=x.device) for x in (columns, kernels))
    for image in set(range(len(columns))) - {chunk.image for chunk in chunks}:
        by_columns[image].zero_()
    return by_columns, by_kernels


def _chunk_loss(
    chunk: _Chunk, columns: Tensor, kernels: Tensor, judge: _Judge, gradients: tuple[Tensor, Tensor] | None
) -> Tensor:
    """Loss of a chunk from its image's (K, h * w) columns and its (p, K) kernels; adds its share to the gradients."""
    loss, slope = judge(kernels @ columns, chunk.rows, with_grad=gradients is not None)
    if gradients is not None:
        by_columns, by_kernels = gradients
        slope = slope.to(by_kernels.dtype)
        torch.mm(slope, columns.to(slope.dtype).T, out=by_kernels[chunk.rows])
        # With beta = 0 what was in the memory does not count.
        by_columns[chunk.image].addmm_(kernels.to(slope.dtype).T, slope, beta=0 if chunk.first else 1)
    return loss
