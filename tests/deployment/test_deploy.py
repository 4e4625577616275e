"""Each option alone and all together: the same outputs, and clear refusals."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import nn

from solo.deployment import DeploymentOptions, deploy
from solo.deployment.deploy import to_half
from solo.deployment.packed_convs import PackedConv2d, packing_is_available
from solo.errors import ConfigError
from solo.models import SOLOv2
from solo.structures import SOLOv2Outputs
from tests.helpers.deployment_models import build_random, images, largest_error
from tests.helpers.fakes import OneSquareModel
from tests.helpers.tiny_model import TINY_HEADS, prediction_sample, tiny_solo_config
from tests.helpers.tiny_model import build_random as build_tiny_random

needs_mkldnn = pytest.mark.skipif(not packing_is_available(), reason="this torch has no oneDNN")
ROUNDING_ALONE: list[dict[str, Any]] = [
    dict(fold_norms=True),
    dict(channels_last=True),
    dict(channels_last="backbone"),
    dict(pack_weights=True),
    dict(fold_norms=True, channels_last=True, pack_weights=True),
    dict(fold_norms=True, channels_last="backbone", pack_weights=True),
    dict(compile=dict(backend="eager"), fold_norms=True),
    dict(threads=1),
    dict(),
]


@torch.no_grad()
def outputs_of(model: SOLOv2) -> SOLOv2Outputs:
    outputs: SOLOv2Outputs = model(images(2, 3, 64, 90))
    return outputs


@needs_mkldnn
@pytest.mark.parametrize("options", ROUNDING_ALONE, ids=str)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.compile's own imports
def test_outputs_are_those_of_the_trained_model(options: dict[str, Any]) -> None:
    expected = outputs_of(build_random())
    model = deploy(build_random(), DeploymentOptions(**{"threads": torch.get_num_threads(), **options}))
    found = outputs_of(model)
    assert largest_error(found, expected) < 1e-5
    assert all(field.dtype == torch.float32 for field in found)
    assert not model.training


@needs_mkldnn
@pytest.mark.parametrize(
    "other",
    [{}, dict(fold_norms=True, channels_last=True, pack_weights=True), dict(compile=dict(backend="eager"))],
    ids=["", "all", "compiled"],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.compile's own imports
def test_bfloat16(other: dict[str, Any]) -> None:
    expected = outputs_of(build_random())
    model = deploy(build_random(), DeploymentOptions(dtype="bfloat16", **other))
    found = outputs_of(model)
    assert all(field.dtype == torch.float32 for field in found)
    assert 1e-4 < largest_error(found, expected) < 0.1
    assert model.data_preprocessor.mean.dtype == torch.float32


def test_float16() -> None:
    expected = outputs_of(build_random())
    found = outputs_of(deploy(build_random(), DeploymentOptions(dtype="float16")))
    assert all(field.dtype == torch.float32 for field in found)
    assert 1e-5 < largest_error(found, expected) < 0.02


def test_first_convolution_predictors_and_norms_stay_float32() -> None:
    model = deploy(build_random(), DeploymentOptions(dtype="bfloat16"))
    convs = {name: part for name, part in model.named_modules() if isinstance(part, nn.Conv2d)}
    kept = {name for name, conv in convs.items() if conv.weight.dtype == torch.float32}
    predictors = {"head.category_predictor", "head.kernel_predictor", "mask_feature.predictor.conv"}
    assert kept == {"backbone.conv1", *predictors}
    assert all(convs[name].weight.dtype == torch.bfloat16 for name in convs.keys() - kept)
    norms = [part for part in model.modules() if isinstance(part, (nn.BatchNorm2d, nn.GroupNorm))]
    assert {norm.weight.dtype for norm in norms} == {torch.float32}


def test_images_are_not_rounded_to_half_precision() -> None:
    model, expected = build_random(), build_random()
    deploy(model, DeploymentOptions(dtype="bfloat16"))
    with torch.no_grad():
        maps, reference = (part.backbone.bn1(part.backbone.conv1(images(1, 3, 64, 64))) for part in (model, expected))
    assert torch.equal(maps, reference)


def test_layers_of_a_transformer_in_bfloat16() -> None:
    """Linear layers are brought to half precision, but for the one that torch's attention computes by itself."""

    class Transformer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.linear = nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(self.attention(x, x, x)[0])

    torch.manual_seed(0)
    holder = nn.Module()
    holder.backbone = Transformer()
    x = torch.randn(1, 5, 8)
    with torch.no_grad():
        expected = holder.backbone(x)
        to_half(holder, torch.bfloat16)
        found = holder.backbone(x)
    assert holder.backbone.linear.weight.dtype == torch.bfloat16
    assert holder.backbone.attention.out_proj.weight.dtype == torch.float32
    assert 0 < largest_error([found.float()], [expected]) < 0.02


@pytest.mark.parametrize("kind", TINY_HEADS)
def test_other_heads_in_bfloat16(kind: str) -> None:
    with torch.no_grad():
        expected = build_tiny_random(tiny_solo_config(kind))(images()).cls_logits
        model = deploy(build_tiny_random(tiny_solo_config(kind)), DeploymentOptions(dtype="bfloat16"))
        sample = model(images(1, 3, 64, 64), [prediction_sample((64, 64))], mode="predict")[0]
        found = model(images()).cls_logits
    assert found.dtype == torch.float32
    assert largest_error([found], [expected]) < 0.05
    assert len(sample.pred_instances) > 0


def test_detections_are_float32_whatever_the_network_is() -> None:
    model = deploy(build_random(), DeploymentOptions(dtype="bfloat16", fold_norms=True))
    with torch.no_grad():
        sample = model(images(1, 3, 64, 64), [prediction_sample((64, 64))], mode="predict")[0]
    assert len(sample.pred_instances) > 0
    assert (sample.pred_instances.scores.dtype, sample.pred_instances.labels.dtype) == (torch.float32, torch.int64)


def test_the_backbone_alone_is_channels_last() -> None:
    model = deploy(build_random(), DeploymentOptions(channels_last="backbone"))
    conv, neck_conv = model.backbone.layer1[0].conv1, model.neck.lateral_convs[0].conv
    assert conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert not conv.weight.is_contiguous()
    assert neck_conv.weight.is_contiguous()
    with torch.no_grad():
        assert all(feature_map.is_contiguous() for feature_map in model.backbone(images(1, 3, 64, 64)))


@needs_mkldnn
def test_recommended_options_leave_no_norm_and_no_plain_convolution() -> None:
    model = deploy(build_random(), DeploymentOptions.recommended(torch.device("cpu")))
    parts = [type(part) for part in model.modules()]
    assert nn.BatchNorm2d not in parts
    assert nn.Conv2d not in parts
    assert parts.count(PackedConv2d) > 20
    assert DeploymentOptions.recommended(torch.device("cuda")).pack_weights is False


def test_a_model_as_trained_takes_the_type_it_is_brought_to() -> None:
    model = deploy(build_random(), DeploymentOptions()).bfloat16()
    with torch.no_grad():
        assert model(images(1, 3, 64, 64).bfloat16()).cls_logits.dtype == torch.bfloat16


def test_threads() -> None:
    before = torch.get_num_threads()
    try:
        deploy(build_random(), DeploymentOptions(threads=1))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_norms_that_stay_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_random()
    warnings: list[str] = []
    monkeypatch.setattr(logging.Logger, "warning", lambda self, message, *args: warnings.append(message))
    model.backbone.layer1 = nn.Sequential(nn.BatchNorm2d(8), *model.backbone.layer1)
    deploy(model, DeploymentOptions(fold_norms=True))
    assert warnings == [
        "1 of 21 batch normalisations were not folded, since no convolution feeds them alone: layer1.0",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(dtype="int8"), "dtype must be one of float32, bfloat16, float16, got 'int8'"),
        (dict(channels_last="head"), "channels_last must be True, False or 'backbone', got 'head'"),
        (dict(threads=0), "threads must be an integer of at least 1, got 0"),
        (dict(threads="two"), "got 'two'"),
        (dict(fold_norms="yes"), "fold_norms must be True or False, got 'yes'"),
        (dict(compile="max"), "compile must be True, False or a dict, got 'max'"),
        (dict(compile={}, pack_weights=True), "compile and pack_weights exclude each other"),
        (dict(fold_norm=True), r"'fold_norm' is unknown \(did you mean 'fold_norms'\?\)"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DeploymentOptions.from_mapping(options)


@pytest.mark.parametrize(
    "options", [dict(dtype="bfloat16"), dict(compile=True), dict(channels_last="backbone")], ids=str
)
def test_another_model_has_no_such_parts(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"need a model with `.*`; OneSquareModel has none"):
        deploy(OneSquareModel(num_classes=2), DeploymentOptions(**options))
