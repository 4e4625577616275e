"""Coordinate channels (CoordConv)."""

from __future__ import annotations

import torch
from torch import Tensor

from solo.ops.exporting import is_exporting


def append_coordinates(features: Tensor) -> Tensor:
    """Append each pixel's x and y, running from -1 to 1 over the map, as two more channels.

    Args:
        features: (B, channels, height, width).

    Returns:
        (B, channels + 2, height, width) in the dtype of `features`; x is the last channel but one, y the last.
    """
    batch, _, height, width = features.shape
    # In float32 first: a half-precision linspace rounds differently from the one the weights were trained with.
    x, y = (_axis(length, features.device).to(features.dtype) for length in (width, height))
    shape = (batch, 1, height, width)
    return torch.cat([features, x.expand(shape), y[:, None].expand(shape)], dim=1)


def _axis(length: int, device: torch.device) -> Tensor:
    """(length,) float32 from -1 to 1."""
    if not is_exporting():
        return torch.linspace(-1, 1, length, device=device)
    # `linspace` makes its length a constant of an exported graph, which then takes one size alone.
    positions = torch.arange(length, device=device, dtype=torch.float32)
    return positions * 2 / positions.amax(dim=0).clamp(min=1) - 1
