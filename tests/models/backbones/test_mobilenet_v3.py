"""MobileNetV3: sizes by hand from the paper's table, the gate, frozen normalisation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from solo.models.backbones import MobileNetV3
from solo.models.backbones.mobilenet_v3 import SqueezeExcitation
from solo.registry import MODELS

# Kernel, hidden and output channels, gate, stride of each block: table 1 of the paper, typed again.
TABLE = """
3 16 16 - 1, 3 64 24 - 2, 3 72 24 - 1, 5 72 40 g 2, 5 120 40 g 1, 5 120 40 g 1, 3 240 80 - 2, 3 200 80 - 1,
3 184 80 - 1, 3 184 80 - 1, 3 480 112 g 1, 3 672 112 g 1, 5 672 160 g 2, 5 960 160 g 1, 5 960 160 g 1
"""


def parameters_by_hand() -> int:
    total, channels = 3 * 16 * 9 + 2 * 16, 16
    for row in TABLE.replace("\n", " ").split(","):
        kernel, hidden, out, gate, _ = row.split()
        side, wide, narrow = int(kernel), int(hidden), int(out)
        total += channels * wide + wide * side**2 + wide * narrow + 2 * (2 * wide + narrow)
        total += (2 * wide * (wide // 4) + wide // 4 + wide) if gate == "g" else 0
        channels = narrow
    return total + 160 * 960 + 2 * 960


@pytest.fixture(scope="module")
def model() -> MobileNetV3:
    torch.manual_seed(0)
    return MODELS.build(dict(type="MobileNetV3")).eval()


def test_parameters(model: MobileNetV3) -> None:
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters_by_hand()


def test_maps(model: MobileNetV3) -> None:
    with torch.no_grad():
        maps = model(torch.randn(2, 3, 64, 96))
    assert [tuple(level.shape) for level in maps] == [
        (2, 72, 16, 24),
        (2, 240, 8, 12),
        (2, 672, 4, 6),
        (2, 960, 2, 3),
    ]


def test_maps_are_the_widened_inputs_of_the_halving_blocks(model: MobileNetV3) -> None:
    """The first two after their ReLU or hard swish: 72 channels by ReLU (no negative), 240 by hard swish (some)."""
    with torch.no_grad():
        first, second, *_ = model(torch.randn(1, 3, 64, 64))
    assert first.min() == 0
    assert -0.376 < second.min() < 0
    assert [model.blocks[index].depthwise.conv.stride for index in (3, 6, 12)] == [(2, 2)] * 3
    assert [index for index, block in enumerate(model.blocks) if block.depthwise.conv.stride == (2, 2)] == [1, 3, 6, 12]


def test_blocks_that_keep_their_size_add_their_input(model: MobileNetV3) -> None:
    adding = [index for index, block in enumerate(model.blocks) if block.adds_input]
    assert adding == [0, 2, 4, 5, 7, 8, 9, 11, 13, 14]


@pytest.mark.parametrize(("value", "gate"), [(0.0, 0.5), (1.0, 0.7), (2.5, 1.0), (9.0, 1.0), (-2.5, 0.0), (-9.0, 0.0)])
def test_gate_by_hand(value: float, gate: float) -> None:
    """clip(0.2 x + 0.5, 0, 1): torch's own hard sigmoid would give 0.667 at 1."""
    layer = SqueezeExcitation(4)
    for conv, constant in ((layer.squeeze, 0.0), (layer.excite, value)):
        nn.init.zeros_(conv.weight)
        nn.init.constant_(conv.bias, constant)
    features = torch.arange(16.0).reshape(1, 4, 2, 2)
    torch.testing.assert_close(layer(features), features * gate)


def test_gate_against_a_loop(generator: torch.Generator) -> None:
    layer = SqueezeExcitation(8)
    features = torch.randn(2, 8, 3, 5, generator=generator)
    for image, output in zip(features, layer(features), strict=True):
        means = image.flatten(1).mean(dim=1)
        hidden = (layer.squeeze.weight[:, :, 0, 0] @ means + layer.squeeze.bias).relu()
        logits = layer.excite.weight[:, :, 0, 0] @ hidden + layer.excite.bias
        gates = [min(1.0, max(0.0, 0.2 * logit + 0.5)) for logit in logits.tolist()]
        torch.testing.assert_close(output, image * torch.tensor(gates)[:, None, None])


def test_frozen_normalisation_stays() -> None:
    model = MobileNetV3(freeze_norm=True).train()
    before = {name: value.clone() for name, value in model.named_buffers()}
    outputs: tuple[Tensor, ...] = model(torch.randn(2, 3, 32, 32))
    sum(output.sum() for output in outputs).backward()  # type: ignore[union-attr]
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, _ in model.named_parameters() if ".bn." not in name}
    assert all(parameter.grad is not None for name, parameter in model.named_parameters() if name in trained)
    assert model.conv1.training and not model.conv1.bn.training


def test_normalisation_learns_otherwise() -> None:
    model = MobileNetV3().train()
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert model.conv1.bn.training
    assert not model.eval().conv1.bn.training
