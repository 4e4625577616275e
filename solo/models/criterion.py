"""Criterion: class loss and mask loss, normalised as in a choice of reference implementations."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, distributed, nn

from solo.models.decoders import build_mask_decoder
from solo.ops import MASK_LOSS_CHUNK_BYTES, dice_loss, sigmoid_focal_loss
from solo.registry import MODELS
from solo.structures import GridTargets, Outputs

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
class DiceLoss(nn.Module):
    """Weighted dice loss of every mask, see `solo.ops.dice_loss`."""

    def __init__(self, *, eps: float = 1e-3, loss_weight: float = 3.0) -> None:
        super().__init__()
        self.eps, self.loss_weight = eps, loss_weight

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(P, h, w) logits and bool targets to (P,) float32 losses."""
        return self.loss_weight * dice_loss(logits, targets, eps=self.eps)


@MODELS.register_module()
class SOLOv2Criterion(nn.Module):
    """Class loss over all cells, mask loss over the positives (SOLOv2 paper, equation 2).

    Args:
        num_classes: C.
        loss_cls: losses of (B, S, C) logits and bool targets, one an element. Their sum is divided by the number of
            positive cells + 1.
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
        return {"loss_cls": self._class_loss(outputs, targets), "loss_mask": self._mask_loss(outputs, targets)}

    def _class_loss(self, outputs: Outputs, targets: GridTargets) -> Tensor:
        classes = torch.arange(self.num_classes, device=targets.labels.device)
        is_class = targets.labels[..., None] == classes
        divisor = (self._total(targets.num_cells) + 1) / self._num_processes
        return self.loss_cls(outputs.cls_logits, is_class).sum() / divisor

    def _mask_loss(self, outputs: Outputs, targets: GridTargets) -> Tensor:
        weights, count = self._mask_weights(targets)
        decoder = build_mask_decoder(outputs)
        loss = decoder.mask_loss(targets, weights=weights, loss=self.loss_mask, chunk_bytes=self.mask_loss_chunk_bytes)
        return loss / (self._total(count).clamp(min=1) / self._num_processes)

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
