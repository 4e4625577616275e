"""Mask decoder: how outputs become masks, the one step in which SOLOv2, SOLO and Decoupled SOLO differ.

Two functions, and one way of each for every kind of outputs: `cell_masks` for the prediction, `mask_loss` for the
training. No way ever draws the masks of all cells: they draw those that are asked for, a few at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import singledispatch
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from solo.masks.bitmaps import MASK_STRIDE
from solo.ops import dynamic_conv, dynamic_mask_loss, product_mask_loss
from solo.ops.mask_loss import MaskLoss
from solo.structures import CellMasks, DecoupledSOLOOutputs, GridTargets, SOLOOutputs, SOLOv2Outputs


@singledispatch
def cell_masks(outputs: Any, image: int) -> CellMasks:
    """The masks of the cells of one image, which are drawn when they are asked for.

    Args:
        outputs: the network's outputs.
        image: which of the batch.

    Raises:
        TypeError: outputs of an unknown kind; register a way for yours with `@cell_masks.register`.
    """
    raise TypeError(f"no mask decoder for outputs of type {type(outputs).__name__}")


@singledispatch
def mask_loss(outputs: Any, targets: GridTargets, *, weights: Tensor, loss: MaskLoss, chunk_bytes: int) -> Tensor:
    """Weighted sum of the losses of the positives' masks.

    Args:
        outputs: the network's outputs.
        targets: the targets.
        weights: (P,) float32 factor of each positive's loss.
        loss: from (p, height, width) float32 logits and bool masks to (p,) float32 losses.
        chunk_bytes: size of the float32 logits of the masks that are drawn at once.

    Returns:
        () float32. Without a positive it is 0 and all its gradients are zeros.

    Raises:
        TypeError: outputs of an unknown kind; register a way for yours with `@mask_loss.register`.
    """
    raise TypeError(f"no mask decoder for outputs of type {type(outputs).__name__}")


# -------------------------------------------------------------------------------------------- SOLOv2: predicted kernels
@cell_masks.register
def _(outputs: SOLOv2Outputs, image: int) -> CellMasks:
    mask_feats, kernels = outputs.mask_feats[image], outputs.kernels[image]

    def draw(cells: Tensor) -> Tensor:
        return dynamic_conv(mask_feats, kernels[cells]).float().sigmoid_()

    return CellMasks(draw, (mask_feats.shape[-2], mask_feats.shape[-1]))


@mask_loss.register
def _(outputs: SOLOv2Outputs, targets: GridTargets, **options: Any) -> Tensor:
    return dynamic_mask_loss(
        outputs.mask_feats,
        outputs.kernels[targets.image_idx, targets.cell_idx],
        targets.masks,
        object_idx=targets.object_idx,
        positives_per_image=targets.positives_per_image,
        **options,
    )


# ------------------------------------------------------------------------------------------------ SOLO: learned kernels
@cell_masks.register
def _(outputs: SOLOOutputs, image: int) -> CellMasks:
    mask_feats = [level[image] for level in outputs.mask_feats]

    def draw_logits(level: int, cells: Tensor) -> Tensor:
        columns = mask_feats[level].flatten(1)
        kernels, biases = (x[cells].to(columns.dtype) for x in (outputs.kernels[level], outputs.biases[level]))
        return torch.addmm(biases[:, None], kernels, columns).view(len(cells), *mask_feats[level].shape[1:])

    def draw(level: int, cells: Tensor) -> Tensor:
        return _doubled(draw_logits(level, cells).float()).sigmoid_()

    finest = (2 * mask_feats[0].shape[-2], 2 * mask_feats[0].shape[-1])
    return _masks_by_level(
        draw, level_sizes=[len(level) for level in outputs.kernels], size=_at_stride_4(finest, outputs.mask_strides)
    )


@mask_loss.register
def _(outputs: SOLOOutputs, targets: GridTargets, *, weights: Tensor, loss: MaskLoss, chunk_bytes: int) -> Tensor:
    def loss_of_doubled(logits: Tensor, masks: Tensor) -> Tensor:
        return loss(_doubled(logits), masks)

    sizes = [len(level) for level in outputs.kernels]
    losses = [
        dynamic_mask_loss(
            outputs.mask_feats[level],
            outputs.kernels[level][positives.cell_idx],
            positives.masks,
            biases=outputs.biases[level][positives.cell_idx],
            object_idx=positives.object_idx,
            positives_per_image=positives.per_image,
            weights=positives.weights,
            loss=loss_of_doubled,
            chunk_bytes=chunk_bytes,
        )
        for level, positives in enumerate(_by_level(targets, sizes, outputs.mask_strides, weights))
    ]
    return torch.stack(losses).sum()


def _doubled(logits: Tensor) -> Tensor:
    """(n, height, width) to twice the size."""
    return F.interpolate(logits[None], scale_factor=2, mode="bilinear")[0]


# -------------------------------------------------------------------------------------------- Decoupled SOLO: products
@cell_masks.register
def _(outputs: DecoupledSOLOOutputs, image: int) -> CellMasks:
    sides = [level.shape[1] for level in outputs.x_logits]
    finest = (outputs.x_logits[0].shape[-2], outputs.x_logits[0].shape[-1])
    size = _at_stride_4(finest, outputs.mask_strides)

    def draw(level: int, cells: Tensor) -> Tensor:
        rows, columns = cells // sides[level], cells % sides[level]
        # Each is resized before the product: the order of the peers.
        x = _resized(outputs.x_logits[level][image, columns].float().sigmoid_(), size)
        return x.mul_(_resized(outputs.y_logits[level][image, rows].float().sigmoid_(), size))

    return _masks_by_level(draw, level_sizes=[side**2 for side in sides], size=size)


@mask_loss.register
def _(
    outputs: DecoupledSOLOOutputs, targets: GridTargets, *, weights: Tensor, loss: MaskLoss, chunk_bytes: int
) -> Tensor:
    sides = [level.shape[1] for level in outputs.x_logits]
    by_level = _by_level(targets, [side**2 for side in sides], outputs.mask_strides, weights)
    losses = [
        product_mask_loss(
            x_logits,
            y_logits,
            positives.masks,
            image_idx=positives.image_idx,
            x_idx=positives.cell_idx % side,
            y_idx=positives.cell_idx // side,
            object_idx=positives.object_idx,
            weights=positives.weights,
            loss=loss,
            chunk_bytes=chunk_bytes,
        )
        for x_logits, y_logits, side, positives in zip(outputs.x_logits, outputs.y_logits, sides, by_level, strict=True)
    ]
    return torch.stack(losses).sum()


# ------------------------------------------------------------------------------------------------------- level by level
class _LevelPositives(NamedTuple):
    """The positives of one level, sorted by image.

    Attributes:
        image_idx: (p,) image of each.
        cell_idx: (p,) cell of each within the level.
        object_idx: (p,) row of its object in `masks`.
        weights: (p,) factor of its loss.
        per_image: B integers that sum to p.
        masks: (sum of N, H/stride, W/stride) bool.
    """

    image_idx: Tensor
    cell_idx: Tensor
    object_idx: Tensor
    weights: Tensor
    per_image: list[int]
    masks: Tensor


def _by_level(
    targets: GridTargets, level_sizes: Sequence[int], mask_strides: Sequence[int], weights: Tensor
) -> Iterator[_LevelPositives]:
    """The positives level by level; where they stand is known on the host, so that nothing waits for the device."""
    counts = [count for image in targets.positives_per_level for count in image]
    ends = list(accumulate(counts, initial=0))
    runs = [slice(*pair) for pair in pairwise(ends)]
    num_levels = len(level_sizes)
    for level, first_cell in enumerate(accumulate(level_sizes[:-1], initial=0)):
        image_idx, cell_idx, object_idx, weights_of_level = (
            torch.cat([values[run] for run in runs[level::num_levels]])
            for values in (targets.image_idx, targets.cell_idx, targets.object_idx, weights)
        )
        stride = mask_strides[level]
        yield _LevelPositives(
            image_idx=image_idx,
            cell_idx=cell_idx - first_cell,
            object_idx=object_idx,
            weights=weights_of_level,
            per_image=counts[level::num_levels],
            masks=targets.masks if stride == MASK_STRIDE else targets.coarse_masks[stride],
        )


def _masks_by_level(
    draw: Callable[[int, Tensor], Tensor], *, level_sizes: Sequence[int], size: tuple[int, int]
) -> CellMasks:
    """Masks that `draw` makes of the cells of one level, counted within it, at any size."""
    first_cells = list(accumulate(level_sizes, initial=0))

    def draw_cells(cells: Tensor) -> Tensor:
        drawn = torch.empty((len(cells), *size), dtype=torch.float32, device=cells.device)
        # Sorted by cell they are sorted by level; where a level ends decides shapes, so the host waits for it, once.
        rows = cells.argsort()
        ends = torch.searchsorted(cells[rows], torch.tensor(first_cells, device=cells.device)).tolist()
        for level, (start, end) in enumerate(pairwise(ends)):
            if start < end:
                of_level = rows[start:end]
                drawn[of_level] = _resized(draw(level, cells[of_level] - first_cells[level]), size)
        return drawn

    return CellMasks(draw_cells, size)


def _at_stride_4(finest: tuple[int, int], mask_strides: Sequence[int]) -> tuple[int, int]:
    """(h, w) from the size of the finest level's masks."""
    height, width = (side * mask_strides[0] // MASK_STRIDE for side in finest)
    return height, width


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """(n, height, width) brought to a size, bilinearly."""
    return maps if maps.shape[-2:] == size else F.interpolate(maps[None], size, mode="bilinear")[0]
