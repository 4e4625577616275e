"""Coordinates of an exported graph: those of its input's size, not of the traced one."""

from __future__ import annotations

import torch
from torch import nn
from torch.export import Dim

from solo.models.layers import append_coordinates


class Coordinates(nn.Module):
    """Coordinates alone."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return append_coordinates(features)


def test_coordinates_follow_the_size() -> None:
    sizes = {2: Dim("height", min=1), 3: Dim("width", min=1)}
    program = torch.export.export(Coordinates(), (torch.zeros(1, 2, 5, 7),), dynamic_shapes={"features": sizes})
    for height, width in ((3, 4), (50, 84), (168, 25)):
        features = torch.rand(1, 2, height, width)
        found = program.module()(features)
        torch.testing.assert_close(found, append_coordinates(features), rtol=0, atol=5e-7)
