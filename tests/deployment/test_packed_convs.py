"""Packed convolutions against torch's own."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from solo.deployment import DeploymentOptions
from solo.deployment.packed_convs import PackedConv2d, can_be_packed, pack_convs, packing_is_available

pytestmark = pytest.mark.skipif(not packing_is_available(), reason="this torch has no oneDNN")


@settings(max_examples=30, deadline=None)
@given(
    groups=st.sampled_from([1, 2, 4]),
    kernel_size=st.sampled_from([1, 3, (5, 1)]),
    stride=st.sampled_from([1, 2]),
    padding=st.sampled_from([0, 1, (2, 0)]),
    dilation=st.sampled_from([1, 2]),
    bias=st.booleans(),
    size=st.tuples(st.integers(0, 3), st.integers(9, 20), st.integers(9, 20)),
    channels_last=st.booleans(),
)
def test_equal_to_the_plain_convolution(
    groups: int, size: tuple[int, int, int], channels_last: bool, **options: Any
) -> None:
    conv = nn.Conv2d(4, 8, groups=groups, **options)
    inputs = torch.randn(size[0], 4, *size[1:])
    if channels_last:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        torch.testing.assert_close(PackedConv2d(conv)(inputs), conv(inputs), rtol=1e-4, atol=1e-5)


def test_bfloat16() -> None:
    conv = nn.Conv2d(16, 16, 3, padding=1).bfloat16()
    inputs = torch.randn(1, 16, 12, 12)
    with torch.no_grad():
        expected = conv(inputs.bfloat16())
        found = PackedConv2d(conv)(inputs)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02)


def test_what_can_be_packed() -> None:
    class Other(nn.Conv2d):
        pass

    assert can_be_packed(nn.Conv2d(3, 4, 3))
    assert can_be_packed(nn.Conv2d(3, 4, 3).bfloat16())
    assert not any(
        can_be_packed(module)
        for module in (
            nn.Conv2d(3, 4, 3).half(),
            nn.Conv2d(3, 4, 3, padding="same"),
            nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
            Other(3, 4, 3),
            nn.ConvTranspose2d(3, 4, 3),
            nn.Conv2d(3, 4, 3, device="meta"),
        )
    )


def test_a_convolution_in_two_places_is_packed_once() -> None:
    conv = nn.Conv2d(4, 4, 3, padding=1)
    network = nn.Sequential(conv, nn.ReLU(), nn.Sequential(conv, nn.Conv2d(4, 2, 1, padding=0)))
    inputs = torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        expected = network(inputs)
        assert pack_convs(network) == ["0", "2.1"]
        torch.testing.assert_close(network(inputs), expected)
    assert network[0] is network[2][0]
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_without_the_operators_nothing_is_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert packing_is_available()
    monkeypatch.setattr("solo.deployment.packed_convs.OPERATORS", ("_no_such_operator",))
    assert not packing_is_available()
    options = DeploymentOptions.recommended(torch.device("cpu"))
    assert options == DeploymentOptions(fold_norms=True, channels_last=True)


@pytest.mark.parametrize("make", [copy.deepcopy, pickle.dumps])
def test_copies_are_refused_with_the_way_out(make: Callable[[nn.Module], object]) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3))
    pack_convs(network)
    with pytest.raises(TypeError, match="deploy without pack_weights"):
        make(network)
