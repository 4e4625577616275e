"""Mask probabilities as a network gives them, and sizes to bring them to."""

from __future__ import annotations

import torch
from torch import Tensor

SIZES = [
    ((32, 64), (32, 64)),
    ((32, 64), (64, 128)),
    ((30, 61), (15, 30)),
    ((17, 64), (100, 33)),
    ((1, 1), (1, 1)),
    ((1, 1), (7, 5)),
    ((32, 64), (1, 1)),
    ((4, 3), (1, 90)),
    ((31, 64), (900, 11)),
]
"""Size of the network input without padding and of the original image, for (8, 16) probabilities."""


def blobs(count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Smooth probabilities of ellipses, most of them small, the last one empty: (D, h, w)."""
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    centers, radii = torch.rand(2, count, 2, generator=generator)
    distances = ((rows - centers[:, :1, None] * height) / (2 + radii[:, :1, None] ** 2 * height / 2)) ** 2 + (
        (columns - centers[:, 1:, None] * width) / (2 + radii[:, 1:, None] ** 2 * width / 2)
    ) ** 2
    probabilities = (5 * (1 - distances)).sigmoid()
    probabilities[-1] = 0.1
    return probabilities
