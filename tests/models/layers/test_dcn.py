from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from mmengine.model import Sequential
from torch import Tensor, nn

from solo.models.layers import DeformConv2d
from solo.ops import deform_conv2d
from solo.registry import MODELS

# The channels of the convolution that predicts offsets, by registered name.
VALUES_PER_TAP = {"DCN": 2, "DCNv2": 3}


def conv_of(type_: str, *args: Any, **options: Any) -> DeformConv2d:
    """Built as a config does, but with taps that move."""
    conv = MODELS.get(type_)(*args, **options)
    nn.init.normal_(conv.conv_offset.weight, std=0.3)
    nn.init.normal_(conv.conv_offset.bias)
    return conv


@pytest.mark.parametrize(("type_", "values"), VALUES_PER_TAP.items())
@pytest.mark.parametrize(("kernel_size", "deform_groups"), [(3, 1), (1, 1), ((3, 1), 2)])
def test_names_and_shapes_of_the_weights(type_: str, values: int, kernel_size: Any, deform_groups: int) -> None:
    conv = MODELS.build(
        dict(type=type_, in_channels=4, out_channels=6, kernel_size=kernel_size, deform_groups=deform_groups)
    )
    sides = conv.kernel_size
    channels = values * deform_groups * sides[0] * sides[1]
    assert {name: tuple(tensor.shape) for name, tensor in conv.state_dict().items()} == {
        "weight": (6, 4, *sides),
        "bias": (6,),
        "conv_offset.weight": (channels, 4, *sides),
        "conv_offset.bias": (channels,),
    }
    assert "bias" not in MODELS.get(type_)(4, 6, kernel_size, bias=False).state_dict()


@pytest.mark.parametrize(("type_", "factor"), [("DCN", 1.0), ("DCNv2", 0.5)])
@pytest.mark.parametrize("geometry", [dict(padding=1), dict(stride=2, padding=2, dilation=2, groups=2)])
def test_starts_as_a_convolution(
    type_: str, factor: float, geometry: dict[str, Any], generator: torch.Generator
) -> None:
    """The modulated one counts every sample by half: the sigmoid of zero."""
    conv = MODELS.get(type_)(4, 6, 3, bias=False, **geometry)
    inputs = torch.randn(2, 4, 7, 9, generator=generator)
    torch.testing.assert_close(conv(inputs), factor * F.conv2d(inputs, conv.weight, **geometry), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("type_", VALUES_PER_TAP)
def test_layout_of_the_predicted_values(type_: str, generator: torch.Generator) -> None:
    """Offsets first, the logits of the mask last: the thirds that mmcv splits off and joins again."""
    geometry = dict(stride=2, padding=1, groups=2, deform_groups=2)
    conv = conv_of(type_, 4, 6, 3, **geometry)
    inputs = torch.randn(2, 4, 8, 6, generator=generator)
    predicted = F.conv2d(inputs, conv.conv_offset.weight, conv.conv_offset.bias, stride=2, padding=1)
    offsets, mask = predicted, None
    if type_ == "DCNv2":
        first, second, logits = predicted.chunk(3, dim=1)
        offsets, mask = torch.cat([first, second], dim=1), logits.sigmoid()
    expected = deform_conv2d(inputs, conv.weight, offsets, mask=mask, bias=conv.bias, **geometry)
    assert torch.equal(conv(inputs), expected)


@pytest.mark.parametrize("type_", VALUES_PER_TAP)
def test_every_weight_learns(type_: str, generator: torch.Generator) -> None:
    conv = MODELS.get(type_)(4, 6, 3, padding=1)
    conv(torch.randn(2, 4, 5, 5, generator=generator)).square().sum().backward()
    assert all(parameter.grad.any() for parameter in conv.parameters())


def test_autocast(generator: torch.Generator) -> None:
    conv, inputs = conv_of("DCNv2", 4, 6, 3, padding=1), torch.randn(2, 4, 5, 5, generator=generator)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = conv(inputs)
    assert result.dtype == torch.bfloat16
    torch.testing.assert_close(result.float(), conv(inputs), rtol=0.1, atol=0.1)
    result.float().sum().backward()
    assert all(parameter.grad.dtype == torch.float32 for parameter in conv.parameters())


def test_mmengines_initialisation_leaves_the_taps_in_their_places() -> None:
    """mmdet initialises all convolutions of a backbone; offsets must stay zero."""

    convs = [MODELS.get(type_)(4, 6, 3) for type_ in VALUES_PER_TAP]
    stage = Sequential(*convs, init_cfg=dict(type="Constant", val=7, bias=7, layer="Conv2d"))
    Sequential(stage).init_weights()
    for name, tensor in stage.state_dict().items():
        assert not tensor.any() if "conv_offset" in name else torch.all(tensor == 7), name


def test_channels_that_the_groups_do_not_divide() -> None:
    with pytest.raises(ValueError, match="6 input channels cannot be split into 4 deform_groups"):
        DeformConv2d(6, 8, 3, deform_groups=4)


# -------------------------------------------------------------------------------------------------- mmdet's backbones
@pytest.mark.parametrize("type_", VALUES_PER_TAP)
@pytest.mark.parametrize(
    "backbone",
    [
        pytest.param(dict(type="mmdet.ResNet", depth=50, base_channels=8), id="ResNet"),
        pytest.param(dict(type="mmdet.ResNetV1d", depth=50, base_channels=8, stem_channels=16), id="ResNetV1d"),
        pytest.param(dict(type="mmdet.ResNeXt", depth=50, groups=64, base_width=4), id="ResNeXt"),
    ],
)
def test_in_the_backbones_of_mmdet(type_: str, backbone: dict[str, Any], generator: torch.Generator) -> None:
    """Every 3x3 convolution of the last three stages, with the names of mmdet's own checkpoints."""
    plain = MODELS.build(backbone)
    model = MODELS.build(
        dict(
            **backbone,
            dcn=dict(type=f"solo.{type_}", deform_groups=1, fallback_on_stride=False),
            stage_with_dcn=(False, True, True, True),
        )
    )
    blocks = [f"layer{stage}.{block}" for stage, count in ((2, 4), (3, 6), (4, 3)) for block in range(count)]
    added = {f"{block}.conv2.conv_offset.{name}" for block in blocks for name in ("weight", "bias")}
    assert set(model.state_dict()) == set(plain.state_dict()) | added
    assert {tuple(t.shape) for n, t in model.named_parameters() if n.endswith("conv_offset.bias")} == {
        (9 * VALUES_PER_TAP[type_],)
    }
    inputs = torch.randn(1, 3, 64, 96, generator=generator)
    features: tuple[Tensor, ...] = model(inputs)
    assert [feature.shape for feature in features] == [feature.shape for feature in plain(inputs)]
    sum(feature.sum() for feature in features).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_backbone_without_offsets_computes_what_the_plain_one_does(generator: torch.Generator) -> None:
    """Fine-tuning a pretrained network starts from its function: version 1 adds nothing until it learns offsets."""
    config = dict(type="mmdet.ResNet", depth=50, base_channels=8)
    plain = MODELS.build(config)
    model = MODELS.build({**config, "dcn": dict(type="solo.DCN"), "stage_with_dcn": (False, True, True, True)})
    plain.eval()
    model.eval()
    missing, unexpected = model.load_state_dict(plain.state_dict(), strict=False)
    assert all("conv_offset" in name for name in missing) and not unexpected
    inputs = torch.randn(1, 3, 64, 96, generator=generator)
    for ours, expected in zip(model(inputs), plain(inputs), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
