"""Criterion: class loss and mask loss, normalised as in a choice of reference implementations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, distributed, nn

from solo.models.decoders import build_mask_decoder
from solo.ops import (
    MASK_LOSS_CHUNK_BYTES,
    boundary_loss,
    dice_loss,
    matched_mask_iou,
    quality_focal_loss,
    sigmoid_focal_loss,
)
from solo.ops.mask_loss import MaskLoss
from solo.registry import MODELS
from solo.structures import GridTargets, Outputs

MIN_QUALITY = 0.05
"""Before masks are learned their IoU is 0, and a cell with an object would be trained as background."""
MaskLossNorm = Literal["targets", "cells", "nonempty"]


@MODELS.register_module()
class FocalLoss(nn.Module):
    """Weighted sigmoid focal loss of every element, see `solo.ops.sigmoid_focal_loss`."""

    def __init__(self, *, alpha: float = 0.25, gamma: float = 2.0, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.alpha, self.gamma, self.loss_weight = alpha, gamma, loss_weight

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(...) logits and 0/1 targets to (...) float32 losses."""
        return self.loss_weight * sigmoid_focal_loss(logits, targets, alpha=self.alpha, gamma=self.gamma)


@MODELS.register_module()
class QualityFocalLoss(nn.Module):
    """Weighted quality focal loss of every element, see `solo.ops.quality_focal_loss`.

    With it the criterion trains the class score of a positive cell towards the IoU of the cell's mask with its object,
    so that a score ranks masks by how exact they are.
    """

    def __init__(self, *, beta: float = 2.0, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.beta, self.loss_weight = beta, loss_weight

    def forward(self, logits: Tensor, quality: Tensor) -> Tensor:
        """(...) logits and targets in [0, 1] to (...) float32 losses."""
        return self.loss_weight * quality_focal_loss(logits, quality, beta=self.beta)


@MODELS.register_module()
class DiceLoss(nn.Module):
    """Weighted dice loss of every mask, see `solo.ops.dice_loss`.

    Args:
        eps: keeps an empty pair of masks defined.
        loss_weight: factor of the dice loss.
        boundary_weight: factor of `solo.ops.boundary_loss`, which is added; 0, as in all reference implementations,
            leaves it out.
    """

    def __init__(self, *, eps: float = 1e-3, loss_weight: float = 3.0, boundary_weight: float = 0.0) -> None:
        super().__init__()
        self.eps, self.loss_weight, self.boundary_weight = eps, loss_weight, boundary_weight

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(P, h, w) logits and bool targets to (P,) float32 losses."""
        losses = self.loss_weight * dice_loss(logits, targets, eps=self.eps)
        if self.boundary_weight:
            losses = losses + self.boundary_weight * boundary_loss(logits, targets)
        return losses


class _RecordedIoU:
    """A mask loss that also keeps the IoU of the masks that it gets, which come in the order of the positives."""

    def __init__(self, loss: MaskLoss) -> None:
        self._loss = loss
        self.ious: list[Tensor] = []

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        with torch.no_grad():
            self.ious.append(matched_mask_iou(logits, targets))
        return self._loss(logits, targets)


@MODELS.register_module()
class SOLOv2Criterion(nn.Module):
    """Class loss over all cells, mask loss over the positives (SOLOv2 paper, equation 2).

    Args:
        num_classes: C.
        loss_cls: losses of (B, S, C) logits and bool targets, one an element. Their sum is divided by the number of
            positive cells + 1. A `QualityFocalLoss` gets the IoU of the cell's mask in place of the ones.
        loss_mask: losses of (p, h, w) logits and bool targets, one a mask; called chunk by chunk.
        mask_loss_norm: what the sum of the mask losses is divided by. "targets": P, as the paper's code and AdelaiDet;
            "cells": the number of distinct positive cells, as mmdet, larger where objects share a cell;
            "nonempty": positives whose stride-4 mask has a pixel, the others counting nothing, as PaddleDetection.
        normalize_over: which positives both losses are divided by in distributed training: those of each "process", as
            in all reference implementations, or those of the whole "job", which gives the same gradients as one process
            with the same images.
        mask_loss_chunk_bytes: size of the logits of the masks that are computed at once. Bounds the memory; it does not
            change the result, and the speed little.

    Raises:
        ValueError: unknown `mask_loss_norm` or `normalize_over`.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        loss_cls: nn.Module,
        loss_mask: nn.Module,
        mask_loss_norm: MaskLossNorm = "targets",
        normalize_over: Literal["process", "job"] = "process",
        mask_loss_chunk_bytes: int = MASK_LOSS_CHUNK_BYTES,
    ) -> None:
        super().__init__()
        if mask_loss_norm not in ("targets", "cells", "nonempty"):
            raise ValueError(f"mask_loss_norm must be 'targets', 'cells' or 'nonempty', not {mask_loss_norm!r}")
        if normalize_over not in ("process", "job"):
            raise ValueError(f"normalize_over must be 'process' or 'job', not {normalize_over!r}")
        self.num_classes = num_classes
        self.normalize_over = normalize_over
        self.loss_cls = loss_cls
        self.loss_mask = loss_mask
        self.mask_loss_norm = mask_loss_norm
        self.mask_loss_chunk_bytes = mask_loss_chunk_bytes

    def forward(self, outputs: Outputs, targets: GridTargets) -> dict[str, Tensor]:
        """Compute both losses. Without any positive the mask loss is 0 and its gradients are zeros, never missing.

        Returns:
            {"loss_cls": (), "loss_mask": ()} float32.
        """
        if not isinstance(self.loss_cls, QualityFocalLoss):
            mask_loss = self._mask_loss(outputs, targets, self.loss_mask)
            return {"loss_cls": self._class_loss(outputs, targets), "loss_mask": mask_loss}
        recorded = _RecordedIoU(self.loss_mask)
        mask_loss = self._mask_loss(outputs, targets, recorded)
        quality = _quality_of_cells(targets, recorded.ious)
        return {"loss_cls": self._class_loss(outputs, targets, quality), "loss_mask": mask_loss}

    def _class_loss(self, outputs: Outputs, targets: GridTargets, quality: Tensor | None = None) -> Tensor:
        """Loss () of (B, S, C) logits; `quality` (B, S) replaces the ones of the targets."""
        classes = torch.arange(self.num_classes, device=targets.labels.device)
        is_class = targets.labels[..., None] == classes
        divisor = (self._total(targets.num_cells) + 1) / self._num_processes
        wanted = is_class if quality is None else is_class * quality[..., None]
        return self.loss_cls(outputs.cls_logits, wanted).sum() / divisor

    def _mask_loss(self, outputs: Outputs, targets: GridTargets, loss: MaskLoss) -> Tensor:
        weights, count = self._mask_weights(targets)
        decoder = build_mask_decoder(outputs)
        total = decoder.mask_loss(targets, weights=weights, loss=loss, chunk_bytes=self.mask_loss_chunk_bytes)
        return total / (self._total(count).clamp(min=1) / self._num_processes)

    def _mask_weights(self, targets: GridTargets) -> tuple[Tensor, Tensor]:
        """(P,) factors of the mask losses, and () the count that their sum is divided by."""
        if self.mask_loss_norm == "nonempty":
            weights = targets.masks.flatten(1).any(dim=1)[targets.object_idx].float()
            return weights, weights.sum()
        weights = torch.ones(targets.object_idx.shape, device=targets.masks.device)
        return weights, targets.num_cells if self.mask_loss_norm == "cells" else weights.sum()

    def _total(self, count: Tensor) -> Tensor:
        """The count of this process, or the sum of all processes' counts."""
        if self._num_processes > 1:
            count = count.float()
            distributed.all_reduce(count)
        return count

    @property
    def _num_processes(self) -> int:
        """How many processes share a divisor: averaging their gradients divides by this number again."""
        is_shared = self.normalize_over == "job" and distributed.is_available() and distributed.is_initialized()
        return distributed.get_world_size() if is_shared else 1


def _quality_of_cells(targets: GridTargets, ious: Sequence[Tensor]) -> Tensor:
    """(B, S) float32: the best IoU of the masks that a cell is trained with, at least MIN_QUALITY; 0 elsewhere."""
    quality = torch.zeros(targets.labels.shape, device=targets.labels.device)
    if ious:
        cells = targets.image_idx * quality.shape[1] + targets.cell_idx  # (P,)
        quality.view(-1).scatter_reduce_(0, cells, torch.cat(list(ious)).clamp(min=MIN_QUALITY), "amax")
    return quality
