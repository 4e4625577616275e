"""Dynamic convolution and mask loss in one, a few masks at a time: memory does not grow with the positives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from solo.ops.dynamic_conv import kernel_size, neighborhoods

MaskLoss = Callable[[Tensor, Tensor], Tensor]
MASK_LOSS_CHUNK_BYTES = 8 * 2**20
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
    biases: Tensor | None = None,
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
        mask_feats: (B, E, h, w) mask features; h and w are those of the logits that `loss` gets.
        kernels: (P, K) kernels of the positives, sorted by image, laid out as in `dynamic_conv`.
        masks: (sum of N, ...) bool masks of all objects, of the size that `loss` compares with.
        object_idx: (P,) int64 row of each positive's object in `masks`.
        positives_per_image: B integers that sum to P.
        weights: (P,) float32 factor of each positive's loss.
        loss: any differentiable function from (p, h, w) float32 logits and (p, ...) bool masks to (p,) float32 losses.
            Called once a chunk, outside autocast.
        biases: (P,) added to the logits of each positive's mask; None for none.
        chunk_bytes: largest size of a chunk's masks as float32; a chunk holds one mask at least.

    Returns:
        () float32. Without a positive it is 0 and all its gradients are zeros. It can be differentiated once: double
        backward and a second backward pass through the same result are a RuntimeError.

    Raises:
        ValueError: K is no odd square multiple of E, or `loss` does not return one value a mask.
    """
    size = kernel_size(kernels.shape[1], channels=mask_feats.shape[1])
    judge = Judge(masks, object_idx, weights, loss, mask_feats.shape[-2:])
    inputs = [x for x in (mask_feats, kernels, biases) if x is not None]
    with_grad = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
    chunks = chunks_of(positives_per_image, largest=judge.largest_chunk(chunk_bytes))
    total: Tensor = _DynamicMaskLoss.apply(  # type: ignore[no-untyped-call]
        neighborhoods(mask_feats, size=size), kernels, biases, judge, chunks, with_grad
    )
    return total


class Share(NamedTuple):
    """The positives of one image within a chunk: its rows of the chunk and of all; `first` of that image or not."""

    image: int
    of_chunk: slice
    of_all: slice
    first: bool


class Chunk(NamedTuple):
    """Positives that are drawn and judged at once, of one image or several."""

    rows: slice
    shares: list[Share]


def chunks_of(positives_per_image: Sequence[int], *, largest: int) -> list[Chunk]:
    """All positives in order, in chunks of about equal size."""
    images = list(pairwise(accumulate(positives_per_image, initial=0)))
    count = sum(positives_per_image)
    number = -(-count // largest)
    borders = [count * part // max(number, 1) for part in range(number + 1)]
    return [Chunk(slice(start, end), list(_shares(images, start, end))) for start, end in pairwise(borders)]


def _shares(images: Sequence[tuple[int, int]], start: int, end: int) -> Iterator[Share]:
    """What each image, given by its first row and the one behind its last, has of the rows from `start` to `end`."""
    for image, (image_start, image_end) in enumerate(images):
        first, last = max(start, image_start), min(end, image_end)
        if first < last:
            yield Share(image, slice(first - start, last - start), slice(first, last), first == image_start)


class Judge(NamedTuple):
    """What drawn masks are compared with and how, see `dynamic_mask_loss`; `size` is that of their logits."""

    masks: Tensor
    object_idx: Tensor
    weights: Tensor
    loss: MaskLoss
    size: torch.Size

    def largest_chunk(self, chunk_bytes: int) -> int:
        """How many masks a chunk may have, at least one."""
        return max(chunk_bytes // (self.masks.shape[-2:].numel() * torch.float32.itemsize), 1)

    def __call__(self, logits: Tensor, rows: slice, *, with_grad: bool) -> tuple[Tensor, Tensor]:
        """Weighted loss () of drawn masks (p, h * w), and its gradient by them: empty unless it is wanted."""
        targets = self.masks[self.object_idx[rows]]
        logits = logits.float().view(len(targets), *self.size).requires_grad_(with_grad)
        with torch.set_grad_enabled(with_grad):
            losses = self.loss(logits, targets)
        if losses.shape != targets.shape[:1]:
            raise ValueError(f"a mask loss must return one value a mask, ({len(targets)},); got {tuple(losses.shape)}")
        weights = self.weights[rows]
        slope = torch.autograd.grad(losses, logits, weights)[0] if with_grad else logits[:0]
        return losses.detach().dot(weights), slope.flatten(1)


class _Drawing(NamedTuple):
    """What draws masks, or the gradients by it: (B, K, h * w) columns, (P, K) kernels, (P,) biases or None."""

    columns: Tensor
    kernels: Tensor
    biases: Tensor | None


class _DynamicMaskLoss(torch.autograd.Function):
    """(B, K, h * w) columns, (P, K) kernels and (P,) biases to the summed loss, and the gradients along with it."""

    @staticmethod
    def forward(
        ctx: Any,
        columns: Tensor,
        kernels: Tensor,
        biases: Tensor | None,
        judge: Judge,
        chunks: list[Chunk],
        with_grad: bool,
    ) -> Tensor:
        ctx.input_types = [x.dtype for x in (columns, kernels, biases) if x is not None]
        dtype = _product_type(columns, kernels)
        drawing = _Drawing(columns.to(dtype), kernels.to(dtype), None if biases is None else biases.to(dtype))
        gradients = _empty_gradients(drawing, chunks) if with_grad else None
        total = torch.zeros((), device=kernels.device)
        with torch.autocast(kernels.device.type, enabled=False):
            for chunk in chunks:
                total += _chunk_loss(chunk, drawing, judge, gradients)
        ctx.gradients = None if gradients is None else [x for x in gradients if x is not None]
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("the mask loss can be differentiated once: compute it again for another backward pass")
        # In place: another tensor of the features' size takes longer to allocate than the scaling itself.
        scaled = [saved.mul_(grad).to(dtype) for saved, dtype in zip(ctx.gradients, ctx.input_types, strict=True)]
        ctx.gradients = None
        return *scaled, *[None] * (len(ctx.needs_input_grad) - len(scaled))


def _product_type(columns: Tensor, kernels: Tensor) -> torch.dtype:
    device = kernels.device.type
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return torch.promote_types(columns.dtype, kernels.dtype)


def _empty_gradients(drawing: _Drawing, chunks: list[Chunk]) -> _Drawing:
    """Gradients by columns, kernels and biases, not filled but for the images that no chunk will write."""
    dtype = torch.float32 if drawing.kernels.dtype == torch.float16 else drawing.kernels.dtype
    by_columns, by_kernels, by_biases = (None if x is None else torch.empty_like(x, dtype=dtype) for x in drawing)
    assert by_columns is not None and by_kernels is not None
    for image in set(range(len(by_columns))) - {share.image for chunk in chunks for share in chunk.shares}:
        by_columns[image].zero_()
    return _Drawing(by_columns, by_kernels, by_biases)


def _chunk_loss(chunk: Chunk, drawing: _Drawing, judge: Judge, gradients: _Drawing | None) -> Tensor:
    """Loss of a chunk; adds its share to the gradients."""
    logits = drawing.columns.new_empty(chunk.rows.stop - chunk.rows.start, drawing.columns.shape[-1])
    for share in chunk.shares:
        _draw(share, drawing, out=logits[share.of_chunk])
    loss, slope = judge(logits, chunk.rows, with_grad=gradients is not None)
    if gradients is not None:
        slope = slope.to(gradients.kernels.dtype)
        for share in chunk.shares:
            _add_gradients(share, drawing, slope[share.of_chunk], gradients)
    return loss


def _draw(share: Share, drawing: _Drawing, *, out: Tensor) -> None:
    columns, kernels = drawing.columns[share.image], drawing.kernels[share.of_all]
    if drawing.biases is None:
        torch.mm(kernels, columns, out=out)
    else:
        torch.addmm(drawing.biases[share.of_all, None], kernels, columns, out=out)


def _add_gradients(share: Share, drawing: _Drawing, slope: Tensor, gradients: _Drawing) -> None:
    columns, kernels = drawing.columns[share.image], drawing.kernels[share.of_all]
    torch.mm(slope, columns.to(slope.dtype).T, out=gradients.kernels[share.of_all])
    # With beta = 0 what was in the memory does not count.
    gradients.columns[share.image].addmm_(kernels.to(slope.dtype).T, slope, beta=0 if share.first else 1)
    if gradients.biases is not None:
        torch.sum(slope, dim=1, out=gradients.biases[share.of_all])
