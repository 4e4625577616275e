"""Models whose norms count: random statistics, as after a training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from solo.models import SOLOv2
from tests.helpers.tiny_model import build_tiny


def randomise_norms(network: nn.Module) -> None:
    """Randomise statistics, weights and biases of all batch normalisations."""
    generator = torch.Generator().manual_seed(1)
    for norm in [part for part in network.modules() if isinstance(part, _BatchNorm)]:
        assert norm.running_mean is not None and norm.running_var is not None
        norm.running_mean.normal_(0, 0.2, generator=generator)
        norm.running_var.uniform_(0.5, 2, generator=generator)
        if norm.affine:
            norm.weight.data.uniform_(0.5, 1.5, generator=generator)
            norm.bias.data.normal_(0, 0.2, generator=generator)


def build_random(**options: Any) -> SOLOv2:
    """The tiny model with such norms, in evaluation mode."""
    model = build_tiny(**options)
    randomise_norms(model)
    return model


def images(*shape: int) -> Tensor:
    """Normalised images (B, 3, H, W)."""
    return torch.randn(shape or (2, 3, 64, 96), generator=torch.Generator().manual_seed(2))


def largest_error(found: Any, expected: Any) -> float:
    """Of several tensors the largest difference, each as a share of the largest value that is expected in it."""
    pairs = zip(found, expected, strict=True)
    return max(float((one.float() - other.float()).abs().max() / other.float().abs().max()) for one, other in pairs)
