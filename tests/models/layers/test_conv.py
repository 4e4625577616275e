from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from solo.models.layers import ConvNormReLU, conv_tower


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
