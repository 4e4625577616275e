"""Base class of the mask decoders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from solo.ops.mask_loss import MaskLoss
from solo.structures import GridTargets


class MaskDecoder(ABC):
    """Computes the masks of grid cells of a batch, for the cells that are asked for, never for all.

    Args:
        outputs: the network's outputs.

    Attributes:
        mask_size: (h, w) of the masks that `decode` returns, at stride 4.
    """

    mask_size: tuple[int, int]

    @abstractmethod
    def __init__(self, outputs: Any) -> None: ...

    @abstractmethod
    def decode(self, image: int, cells: Tensor) -> Tensor:
        """Compute masks for inference.

        Args:
            image: index in the batch.
            cells: (n,) int64 in [0, S).

        Returns:
            (n, h, w) float32 mask probabilities.
        """

    @abstractmethod
    def mask_loss(self, targets: GridTargets, *, weights: Tensor, loss: MaskLoss, chunk_bytes: int) -> Tensor:
        """Weighted sum of the losses of the positives' masks.

        Args:
            targets: the targets.
            weights: (P,) float32 factor of each positive's loss.
            loss: from (p, height, width) float32 logits and bool masks to (p,) float32 losses.
            chunk_bytes: size of the float32 logits of the masks that are computed at once.

        Returns:
            () float32. Without a positive it is 0 and all its gradients are zeros.
        """
