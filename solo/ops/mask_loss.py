"""Losses of many masks in chunks, so that memory does not grow with the number of positives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

MaskLoss = Callable[[Tensor, Tensor], Tensor]
MASK_LOSS_CHUNK_BYTES = 8 * 2**20
"""Large enough for full speed of the matrix products, small enough that the allocator reuses the memory."""


class ImageRows(NamedTuple):
    """The positives of one image within a chunk.

    Attributes:
        image: index in the batch.
        in_chunk: their rows of the chunk.
        in_all: their rows of all positives.
    """

    image: int
    in_chunk: slice
    in_all: slice


class MaskChunk(NamedTuple):
    """Positives of one or more images whose masks are computed and compared at once."""

    rows: slice
    images: list[ImageRows]


def split_into_chunks(positives_per_image: Sequence[int], *, largest: int) -> list[MaskChunk]:
    """Split the positives into chunks of about equal size and at most `largest` masks."""
    images = list(pairwise(accumulate(positives_per_image, initial=0)))
    count = sum(positives_per_image)
    number = -(-count // largest)
    borders = [count * part // max(number, 1) for part in range(number + 1)]
    return [MaskChunk(slice(start, end), list(_image_rows(images, start, end))) for start, end in pairwise(borders)]


def _image_rows(images: Sequence[tuple[int, int]], start: int, end: int) -> Iterator[ImageRows]:
    """Split the rows from `start` to `end` by image; images are given by their first row and the one after the last."""
    for image, (image_start, image_end) in enumerate(images):
        first, last = max(start, image_start), min(end, image_end)
        if first < last:
            yield ImageRows(image, slice(first - start, last - start), slice(first, last))


class MaskLossOnChunk(NamedTuple):
    """The mask loss of the positives of a chunk.

    Attributes:
        masks: (sum of N, ...) bool masks of all objects.
        object_idx: (P,) int64 row of each positive's object in `masks`.
        weights: (P,) float32 factor of each positive's loss.
        loss: from (p, h, w) float32 logits and (p, ...) bool masks to (p,) float32 losses.
        size: (h, w) of the logits.
    """

    masks: Tensor
    object_idx: Tensor
    weights: Tensor
    loss: MaskLoss
    size: tuple[int, int]

    def largest_chunk(self, chunk_bytes: int) -> int:
        """Number of masks of a chunk, at least one."""
        return max(chunk_bytes // (self.masks.shape[-2:].numel() * torch.float32.itemsize), 1)

    def __call__(self, logits: Tensor, rows: slice) -> Tensor:
        """Weighted sum () of the losses of (p, h * w) logits."""
        targets = self.masks[self.object_idx[rows]]
        losses = self.loss(logits.view(len(targets), *self.size), targets)
        if losses.shape != targets.shape[:1]:
            raise ValueError(f"a mask loss must return one value a mask, ({len(targets)},); got {tuple(losses.shape)}")
        return losses.dot(self.weights[rows])


class MaskSource(Protocol):
    """Computes the logits of a chunk from the inputs, and the gradients of the inputs.

    Autograd differentiates the steps from `maps` to the loss. The step from the inputs to the maps is a matrix product
    or a selection, whose gradient `add_gradients` adds to that of the chunks before.

    Attributes:
        gradient_dtype: type in which the gradients of the inputs are accumulated.
    """

    gradient_dtype: torch.dtype

    def maps(self, chunk: MaskChunk) -> Sequence[Tensor]:
        """Compute float32 maps (p, h * w) of the chunk's positives, as new tensors."""

    def logits(self, maps: Sequence[Tensor]) -> Tensor:
        """Compute (p, h * w) mask logits from the maps."""

    def add_gradients(self, chunk: MaskChunk, by_maps: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        """Add to the gradients of the inputs, given those of the chunk's maps."""


def chunked_mask_loss(
    make_source: Callable[..., MaskSource],
    inputs: Sequence[Tensor],
    *,
    loss: MaskLossOnChunk,
    positives_per_image: Sequence[int],
    chunk_bytes: int,
) -> Tensor:
    """Weighted sum of the mask losses of all positives, with the gradient computed along with it.

    The forward pass computes losses and gradients chunk by chunk, adds up the gradients of the inputs and frees the
    logits; the backward pass only scales. Beside the gradients of the inputs, memory is that of one chunk for any
    number of positives.

    Args:
        make_source: builds a `MaskSource` from the inputs.
        inputs: the tensors that are differentiated.
        loss: the loss of a chunk.
        positives_per_image: B integers that sum to P.
        chunk_bytes: largest size of a chunk's masks as float32; a chunk holds at least one mask.

    Returns:
        () float32. Without a positive it is 0 and all its gradients are zeros. It can be differentiated once: double
        backward and a second backward pass through the same result are a RuntimeError.
    """
    chunks = split_into_chunks(positives_per_image, largest=loss.largest_chunk(chunk_bytes))
    with_grad = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
    total: Tensor = _ChunkedMaskLoss.apply(make_source, loss, chunks, with_grad, *inputs)  # type: ignore[no-untyped-call]
    return total


def _chunk_loss(
    source: MaskSource, chunk: MaskChunk, loss: MaskLossOnChunk, gradients: Sequence[Tensor] | None
) -> Tensor:
    """Loss () of a chunk; adds to the gradients of the inputs."""
    with_grad = gradients is not None
    maps = [x.requires_grad_(with_grad) for x in source.maps(chunk)]
    with torch.set_grad_enabled(with_grad):
        value = loss(source.logits(maps), chunk.rows)
    if gradients is not None:
        source.add_gradients(chunk, torch.autograd.grad(value, maps), gradients)
    return value.detach()


class _ChunkedMaskLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        make_source: Callable[..., MaskSource],
        loss: MaskLossOnChunk,
        chunks: Sequence[MaskChunk],
        with_grad: bool,
        *inputs: Tensor,
    ) -> Tensor:
        source = make_source(*inputs)
        gradients = [torch.zeros_like(x, dtype=source.gradient_dtype) for x in inputs] if with_grad else None
        total = torch.zeros((), device=inputs[0].device)
        with torch.autocast(total.device.type, enabled=False):
            for chunk in chunks:
                total += _chunk_loss(source, chunk, loss, gradients)
        ctx.gradients, ctx.input_types = gradients, [x.dtype for x in inputs]
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("the mask loss can be differentiated once: compute it again for another backward pass")
        # In place: to allocate another tensor of the features' size takes longer than to scale it.
        scaled = [saved.mul_(grad).to(dtype) for saved, dtype in zip(ctx.gradients, ctx.input_types, strict=True)]
        ctx.gradients = None
        return None, None, None, None, *scaled
