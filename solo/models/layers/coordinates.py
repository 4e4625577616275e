"""Coordinate channels (CoordConv)."""

from __future__ import annotations

import torch
from torch import Tensor


def append_coordinates(features: Tensor) -> Tensor:
    """Append each pixel's x and y, running from -1 to 1 over the map, as two more channels.

    Args:
        features: (B, channels, height, width).

    Returns:
        (B, channels + 2, height, width) in the dtype of `features`; x is the last channel but one, y the last.
    """
    batch, _, height, width = features.shape
    # In float32 first: a half-precision linspace rounds differently from the one the weights were trained with.
    x = torch.linspace(-1, 1, width, device=features.device).to(features.dtype)
    y = torch.linspace(-1, 1, height, device=features.device).to(features.dtype)
    shape = (batch, 1, height, width)
    return torch.cat([features, x.expand(shape), y[:, None].expand(shape)], dim=1)
