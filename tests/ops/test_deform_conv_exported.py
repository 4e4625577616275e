"""Deformable convolution in an exported graph: gathers that give the same, wherever the samples lie."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from solo.ops import deform_conv2d
from tests.helpers.exported import needs_tested_torch

GROUPS = 2


class Deformed(nn.Module):
    """The operator alone."""

    def forward(self, inputs: Tensor, weight: Tensor, offsets: Tensor, mask: Tensor) -> Tensor:
        return deform_conv2d(inputs, weight, offsets, mask=mask, padding=1, deform_groups=GROUPS)


@needs_tested_torch
@pytest.mark.parametrize("scale", [0.5, 5.0, 1e9])
def test_samples_anywhere(scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs, weight = torch.randn(2, 4, 5, 7, generator=generator), torch.randn(3, 4, 3, 3, generator=generator)
    offsets = scale * torch.randn(2, 2 * GROUPS * 9, 5, 7, generator=generator)
    offsets[0, 0, 0] = torch.inf
    offsets[1, 1, 0] = -torch.inf
    offsets[1, 2] = offsets[1, 2].round()
    arguments = (inputs, weight, offsets, torch.rand(2, GROUPS * 9, 5, 7, generator=generator))
    program = torch.export.export(Deformed(), arguments)
    assert not [node for node in program.graph.nodes if "embedding_bag" in str(node.target)]
    torch.testing.assert_close(program.module()(*arguments), deform_conv2d_of(*arguments), rtol=0, atol=2e-5)


def deform_conv2d_of(inputs: Tensor, weight: Tensor, offsets: Tensor, mask: Tensor) -> Tensor:
    """Outside of an export."""
    return Deformed()(inputs, weight, offsets, mask)
