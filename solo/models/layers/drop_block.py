"""DropBlock: dropout of squares of feature maps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DropBlock(nn.Module):
    """In training, set random squares of each channel to zero and scale the rest up (Ghiasi et al. 2018).

    As in PaddleDetection: squares are sampled for each image and channel, at a rate that is constant from the first
    step on; the rest is multiplied by the number of values over the number kept, both counted over the whole tensor.

    Args:
        block_size: side of a square, odd.
        keep_prob: approximate share of the values that is kept; 1 keeps all.

    Shape:
        (B, channels, H, W) -> the same; H and W at least `block_size`.

    Raises:
        ValueError: `block_size` is even, `keep_prob` outside (0, 1], or a map smaller than a square.
    """

    def __init__(self, *, block_size: int = 3, keep_prob: float = 0.9) -> None:
        if block_size < 1 or block_size % 2 == 0 or not 0 < keep_prob <= 1:
            raise ValueError(
                f"block_size must be odd and keep_prob in (0, 1], got block_size={block_size}, keep_prob={keep_prob}"
            )
        super().__init__()
        self.block_size = block_size
        self.keep_prob = keep_prob

    def centre_rate(self, height: int, width: int) -> float:
        """Probability of each pixel of a map to be the centre of a square.

        Raises:
            ValueError: the map is smaller than a square.
        """
        if min(height, width) < self.block_size:
            raise ValueError(f"a map of {height} x {width} cannot lose squares with a side of {self.block_size}")
        rate = (1 - self.keep_prob) / self.block_size**2
        for side in (height, width):
            rate *= side / (side - self.block_size + 1)
        return rate

    def forward(self, features: Tensor) -> Tensor:
        if not self.training or self.keep_prob == 1:
            return features
        height, width = features.shape[-2:]
        # In float32, since half precision rounds small rates.
        centres = torch.rand(features.shape, device=features.device) < self.centre_rate(height, width)
        dropped = F.max_pool2d(centres.float(), self.block_size, stride=1, padding=self.block_size // 2)
        kept = 1 - dropped
        factor = kept.numel() / kept.sum().clamp(min=1)
        return features * (kept * factor).to(features.dtype)
