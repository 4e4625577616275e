from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from solo.models.layers import ConvNormReLU, DeformConv2d, conv_tower, init_conv_weights


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_convolution_then_normalisation_then_relu(kernel_size: int, generator: torch.Generator) -> None:
    block = ConvNormReLU(3, 8, kernel_size=kernel_size, num_groups=4)
    torch.nn.init.normal_(block.norm.weight)
    torch.nn.init.normal_(block.norm.bias)
    inputs = torch.randn(2, 3, 5, 6, generator=generator)
    expected = F.conv2d(inputs, block.conv.weight, padding=kernel_size // 2)
    expected = F.group_norm(expected, 4, block.norm.weight, block.norm.bias).relu()
    assert torch.equal(block(inputs), expected)


def test_names_of_the_weights() -> None:
    assert set(ConvNormReLU(3, 8, num_groups=4).state_dict()) == {"conv.weight", "norm.weight", "norm.bias"}


def test_the_input_is_left_alone(generator: torch.Generator) -> None:
    inputs = torch.randn(1, 4, 3, 3, generator=generator)
    before = inputs.clone()
    ConvNormReLU(4, 4, num_groups=2)(inputs)
    assert torch.equal(inputs, before)


def test_one_value_a_group() -> None:
    """torch refuses to normalise a single value; it equals its mean, so the bias is left."""
    block = ConvNormReLU(3, 4, num_groups=4)
    torch.nn.init.constant_(block.norm.bias, 0.5)
    result = block(torch.ones(1, 3, 1, 1))
    assert result.flatten().tolist() == pytest.approx([0.5] * 4, abs=1e-4)
    result.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in block.parameters())


def test_groups_that_do_not_divide_the_channels() -> None:
    with pytest.raises(ValueError, match="12 channels cannot be normalised in 8 groups; set num_groups"):
        ConvNormReLU(3, 12, num_groups=8)


@pytest.mark.parametrize("num_convs", [1, 4])
def test_tower(num_convs: int) -> None:
    tower = conv_tower(5, 8, num_convs=num_convs, num_groups=2)
    widths = [(block.conv.in_channels, block.conv.out_channels) for block in tower]
    assert widths == [(5, 8)] + [(8, 8)] * (num_convs - 1)
    assert all(block.conv.kernel_size == (3, 3) and block.norm.num_groups == 2 for block in tower)
    assert tower(torch.zeros(1, 5, 4, 6)).shape == (1, 8, 4, 6)


# --------------------------------------------------------------------------------------------------------- deformable
@pytest.mark.parametrize("kernel_size", [1, 3])
def test_deformable_block(kernel_size: int, generator: torch.Generator) -> None:
    block = ConvNormReLU(3, 8, kernel_size=kernel_size, num_groups=4, dcn=dict(type="DCNv2"))
    torch.nn.init.normal_(block.conv.conv_offset.bias)
    assert set(block.state_dict()) == {
        "conv.weight",
        "conv.conv_offset.weight",
        "conv.conv_offset.bias",
        "norm.weight",
        "norm.bias",
    }
    assert len(block.conv.conv_offset.bias) == 3 * kernel_size**2
    inputs = torch.randn(2, 3, 5, 6, generator=generator)
    expected = F.group_norm(block.conv(inputs), 4, block.norm.weight, block.norm.bias).relu()
    assert block(inputs).shape == (2, 8, 5, 6)
    assert torch.equal(block(inputs), expected)


def test_options_of_the_deformable_convolution() -> None:
    dcn = dict(type="DCN", bias=True, deform_groups=2)
    block = ConvNormReLU(4, 8, num_groups=4, dcn=dcn)
    assert block.conv.bias.shape == (8,)
    assert len(block.conv.conv_offset.bias) == 2 * 2 * 9
    assert dcn == dict(type="DCN", bias=True, deform_groups=2), "the config is left alone"


@pytest.mark.parametrize(
    ("dcn_convs", "deformable"),
    [(None, [True, True, True]), ((2,), [False, False, True]), ([0, 1], [True, True, False]), ((), [False] * 3)],
)
def test_tower_with_some_deformable_blocks(dcn_convs: Any, deformable: list[bool]) -> None:
    tower = conv_tower(5, 8, num_convs=3, num_groups=2, dcn=dict(type="DCN"), dcn_convs=dcn_convs)
    assert [isinstance(block.conv, DeformConv2d) for block in tower] == deformable
    assert tower(torch.zeros(1, 5, 4, 6)).shape == (1, 8, 4, 6)


@pytest.mark.parametrize("dcn_convs", [(3,), (0, -1)])
def test_tower_without_such_a_block(dcn_convs: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"dcn_convs=\(.*\) must name convolutions from 0 to 2"):
        conv_tower(5, 8, num_convs=3, num_groups=2, dcn=dict(type="DCN"), dcn_convs=dcn_convs)


def test_deformable_blocks_without_their_config() -> None:
    with pytest.raises(ValueError, match=r"dcn_convs=\(1,\) needs dcn"):
        conv_tower(5, 8, num_convs=3, num_groups=2, dcn_convs=[1])


def test_initial_weights() -> None:
    tower = conv_tower(32, 64, num_convs=2, num_groups=2, dcn=dict(type="DCNv2", bias=True), dcn_convs=[1])
    for parameter in tower.parameters():
        torch.nn.init.ones_(parameter)
    init_conv_weights(tower, std=0.1)
    for block in tower:
        assert block.conv.weight.std().item() == pytest.approx(0.1, rel=0.05)
        assert block.norm.weight.all() and block.norm.bias.all(), "the normalisation is left alone"
    deformable = tower[1].conv
    assert not any(tensor.any() for tensor in (deformable.bias, *deformable.conv_offset.parameters()))
