"""Names of the dialects: those in files of the reference implementations, and round trips of every config."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from solo.checkpoints.dialects import DIALECTS, Dialect
from solo.checkpoints.fitting import model_on_meta
from solo.checkpoints.state_dict import BATCH_COUNTER, convert_from_ours, convert_to_ours, find_dialect
from solo.config import load_config
from tests.helpers.paths import CONFIGS

SHIPPED = sorted(
    str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*.py") if "_base_" not in path.relative_to(CONFIGS).parts
)

# By hand, from the code of each reference: (dialect, its name, ours).
KNOWN = [
    ("mmdet", "mask_head.cls_convs.3.conv.weight", "head.category_tower.3.conv.weight"),
    ("mmdet", "mask_head.kernel_convs.0.gn.bias", "head.kernel_tower.0.norm.bias"),
    ("mmdet", "mask_head.kernel_convs.0.conv.conv_offset.bias", "head.kernel_tower.0.conv.conv_offset.bias"),
    ("mmdet", "mask_head.conv_cls.bias", "head.category_predictor.bias"),
    ("mmdet", "mask_head.conv_kernel.weight", "head.kernel_predictor.weight"),
    (
        "mmdet",
        "mask_head.mask_feature_head.convs_all_levels.3.conv2.gn.weight",
        "mask_feature.levels.3.4.norm.weight",
    ),
    ("mmdet", "mask_head.mask_feature_head.conv_pred.conv.weight", "mask_feature.predictor.conv.weight"),
    ("mmdet", "backbone.layer4.2.conv2.conv_offset.weight", "backbone.layer4.2.conv2.conv_offset.weight"),
    ("wxinlong", "bbox_head.cate_convs.1.gn.weight", "head.category_tower.1.norm.weight"),
    ("wxinlong", "bbox_head.solo_kernel.bias", "head.kernel_predictor.bias"),
    ("wxinlong", "mask_feat_head.convs_all_levels.0.conv0.conv.weight", "mask_feature.levels.0.0.conv.weight"),
    ("wxinlong", "mask_feat_head.conv_pred.0.gn.bias", "mask_feature.predictor.norm.bias"),
    ("wxinlong", "neck.fpn_convs.3.conv.bias", "neck.fpn_convs.3.conv.bias"),
    ("mmdet", "mask_head.mask_convs.6.conv.weight", "head.mask_tower.6.conv.weight"),
    ("mmdet", "mask_head.mask_convs_y.0.gn.weight", "head.mask_tower_y.0.norm.weight"),
    ("mmdet", "mask_head.conv_mask_list.4.bias", "head.mask_predictors.4.bias"),
    ("mmdet", "mask_head.conv_mask_list_x.0.weight", "head.mask_predictors_x.0.weight"),
    ("wxinlong", "bbox_head.ins_convs.2.gn.bias", "head.mask_tower.2.norm.bias"),
    ("wxinlong", "bbox_head.ins_convs_x.2.conv.weight", "head.mask_tower_x.2.conv.weight"),
    ("wxinlong", "bbox_head.ins_convs.3.conv_offset.weight", "head.mask_tower.3.conv.conv_offset.weight"),
    ("wxinlong", "bbox_head.solo_ins_list.1.weight", "head.mask_predictors.1.weight"),
    ("wxinlong", "bbox_head.dsolo_ins_list_y.3.bias", "head.mask_predictors_y.3.bias"),
    ("wxinlong", "bbox_head.dsolo_cate.weight", "head.category_predictor.weight"),
    ("adelaidet", "backbone.bottom_up.stem.conv1.norm.running_var", "backbone.bn1.running_var"),
    ("adelaidet", "backbone.bottom_up.res2.0.shortcut.weight", "backbone.layer1.0.downsample.0.weight"),
    ("adelaidet", "backbone.bottom_up.res5.2.conv3.norm.bias", "backbone.layer4.2.bn3.bias"),
    ("adelaidet", "backbone.fpn_lateral5.weight", "neck.lateral_convs.3.conv.weight"),
    ("adelaidet", "ins_head.cate_tower.9.weight", "head.category_tower.3.conv.weight"),
    ("adelaidet", "ins_head.kernel_tower.10.bias", "head.kernel_tower.3.norm.bias"),
    ("adelaidet", "mask_head.convs_all_levels.2.conv1.0.weight", "mask_feature.levels.2.2.conv.weight"),
    ("adelaidet", "mask_head.conv_pred.1.weight", "mask_feature.predictor.norm.weight"),
    ("paddle", "backbone.conv1.conv1.norm._variance", "backbone.bn1.running_var"),
    ("paddle", "backbone.res4.res4f.branch2b.conv.weight", "backbone.layer3.5.conv2.weight"),
    ("paddle", "backbone.res4.res4b22.branch2c.norm._mean", "backbone.layer3.22.bn3.running_mean"),
    ("paddle", "backbone.res3.res3a.branch2b.conv_offset.bias", "backbone.layer2.0.conv2.conv_offset.bias"),
    ("paddle", "backbone.res3.res3a.short.conv.weight", "backbone.layer2.0.downsample.0.weight"),
    ("paddle", "backbone.res3.res3a.short.conv.norm.bias", "backbone.layer2.0.downsample.2.bias"),
    ("paddle", "backbone.conv1.conv1_2.norm.weight", "backbone.stem.4.weight"),
    ("paddle", "neck.fpn_inner_res5_sum.weight", "neck.lateral_convs.3.conv.weight"),
    ("paddle", "neck.fpn_inner_res2_sum_lateral.bias", "neck.lateral_convs.0.conv.bias"),
    ("paddle", "solov2_head.bbox_head.cate_convs.2.conv.conv_dcn.bias", "head.category_tower.2.conv.bias"),
    ("paddle", "solov2_head.solo_cate.weight", "head.category_predictor.weight"),
    (
        "paddle",
        "mask_head.conv_pre_feat3.mask_feat_head.convs_all_levels.3.conv2.norm.weight",
        "mask_feature.levels.3.4.norm.weight",
    ),
    ("paddle", "mask_head.conv_pred.norm.bias", "mask_feature.predictor.norm.bias"),
    ("paddle-static", "bn_conv1_scale", "backbone.bn1.weight"),
    ("paddle-static", "bnv1_2_variance", "backbone.stem.4.running_var"),
    ("paddle-static", "res4b22_branch2b_weights", "backbone.layer3.22.conv2.weight"),
    ("paddle-static", "bn2a_branch1_offset", "backbone.layer1.0.downsample.1.bias"),
    ("paddle-static", "res3a_branch2b_conv_offset.w_0", "backbone.layer2.0.conv2.conv_offset.weight"),
    ("paddle-static", "fpn_inner_res4_sum_lateral_w", "neck.lateral_convs.2.conv.weight"),
    ("paddle-static", "fpn_res2_sum_b", "neck.fpn_convs.0.conv.bias"),
    ("paddle-static", "bbox_head.kernel_convs.0.gn_scale", "head.kernel_tower.0.norm.weight"),
    ("paddle-static", "bbox_head.cate_convs.2_conv_offset.b_0", "head.category_tower.2.conv.conv_offset.bias"),
    ("paddle-static", "mask_feat_head.convs_all_levels.1.conv0_weights", "mask_feature.levels.1.0.conv.weight"),
    ("paddle-static", "mask_feat_head.conv_pred.0.gn_offset", "mask_feature.predictor.norm.bias"),
    ("paddle-static", "conv1_bn_scale", "backbone.conv1.bn.weight"),
    ("paddle-static", "conv2_expand_weights", "backbone.blocks.0.expand.conv.weight"),
    ("paddle-static", "conv16_depthwise_bn_variance", "backbone.blocks.14.depthwise.bn.running_var"),
    ("paddle-static", "conv5_linear_bn_offset", "backbone.blocks.3.linear.bn.bias"),
    ("paddle-static", "conv5_se_1_weights", "backbone.blocks.3.gate.squeeze.weight"),
    ("paddle-static", "conv5_se_2_offset", "backbone.blocks.3.gate.excite.bias"),
    ("paddle-static", "conv_last_bn_mean", "backbone.conv_last.bn.running_mean"),
    ("paddle-static", "fpn_inner_mv3_3_w", "neck.lateral_convs.3.conv.weight"),
    ("paddle-static", "fpn_inner_mv3_0_lateral_b", "neck.lateral_convs.0.conv.bias"),
    ("paddle-static", "fpn_mv3_2_w", "neck.fpn_convs.2.conv.weight"),
]

# What a code base cannot build and hence has no names for, as parts of our names.
LACKING = {
    "adelaidet": ("tower.2.conv.conv_offset", "backbone.stem", "backbone.blocks", "head.mask_"),
    "paddle": ("backbone.blocks", "head.mask_"),
    "paddle-static": ("head.mask_",),
}


@pytest.mark.parametrize(("dialect", "theirs", "ours"), KNOWN)
def test_known_names(dialect: str, theirs: str, ours: str) -> None:
    assert DIALECTS[dialect].to_ours([theirs]) == {theirs: ours}


def test_old_names_of_offsets() -> None:
    names = ["backbone.layer2.0.conv2_offset.weight", "bbox_head.kernel_convs.2.conv_offset.bias"]
    assert list(DIALECTS["wxinlong"].to_ours(names).values()) == [
        "backbone.layer2.0.conv2.conv_offset.weight",
        "head.kernel_tower.2.conv.conv_offset.bias",
    ]


def test_the_first_stage_of_a_vd_resnet_has_its_convolution_behind_a_pooling() -> None:
    names = ["backbone.res2.res2a.short.conv.weight", "backbone.conv1.conv1_1.conv.weight"]
    assert DIALECTS["paddle"].to_ours(names)[names[0]] == "backbone.layer1.0.downsample.1.weight"
    static = ["res2a_branch1_weights", "bn2a_branch1_scale", "conv1_1_weights"]
    assert list(DIALECTS["paddle-static"].to_ours(static).values()) == [
        "backbone.layer1.0.downsample.1.weight",
        "backbone.layer1.0.downsample.2.weight",
        "backbone.stem.0.weight",
    ]


def random_weights(
    config: str, generator: torch.Generator, overrides: dict[str, Any] | None = None
) -> dict[str, Tensor]:
    """Every tensor of a config's model, drawn; counts stay 0, since most dialects do not record them."""
    model = model_on_meta(load_config(CONFIGS / config, overrides)).state_dict()
    return {
        name: torch.zeros((), dtype=torch.int64)
        if name.endswith(BATCH_COUNTER)
        else torch.empty(tensor.shape).uniform_(-1, 1, generator=generator)
        for name, tensor in model.items()
    }


def test_the_first_convolution_of_mobilenet_shares_its_name_with_resnets() -> None:
    names = ["conv1_weights", "conv2_expand_weights"]
    assert DIALECTS["paddle-static"].to_ours(names)["conv1_weights"] == "backbone.conv1.conv.weight"
    assert DIALECTS["paddle-static"].to_ours(names[:1])["conv1_weights"] == "backbone.conv1.weight"


def test_the_predictor_of_decoupled_solo_is_written_under_its_own_name() -> None:
    names = ["head.category_predictor.bias", "head.mask_predictors_x.0.weight"]
    assert DIALECTS["wxinlong"].to_theirs(names)[names[0]] == "bbox_head.dsolo_cate.bias"
    assert DIALECTS["wxinlong"].to_theirs(names[:1])[names[0]] == "bbox_head.solo_cate.bias"


# No reference implementation has the backbone of the other.
@pytest.mark.parametrize("config", [name for name in SHIPPED if "lite0" not in name and "hgnet" not in name])
def test_round_trip_of_every_config_through_every_dialect(config: str, generator: torch.Generator) -> None:
    assert_round_trips(random_weights(config, generator), DIALECTS)


# AdelaiDet builds no deformable convolution in its heads, whatever its options say, and no deep stem.
DEFORMABLE_DIALECTS = {name: dialect for name, dialect in DIALECTS.items() if name != "adelaidet"}


@pytest.mark.parametrize("version", ["DCN", "DCNv2"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("backbone", ["mmdet.ResNet", "mmdet.ResNetV1d"])
def test_round_trip_of_deformable_models(version: str, bias: bool, backbone: str, generator: torch.Generator) -> None:
    overrides = {
        "model.backbone.type": backbone,
        "model.backbone.depth": 50,
        "model.backbone.dcn": {"type": f"solo.{version}", "deform_groups": 1, "fallback_on_stride": False},
        "model.backbone.stage_with_dcn": (False, True, True, True),
        "model.neck.in_channels": [64, 128, 256, 512],
        "model.head.dcn": {"type": version, "bias": bias},
        "model.head.dcn_convs": [1],
        "model.mask_feature.dcn": {"type": version, "bias": bias},
    }
    weights = random_weights("shapes/solov2-nano_shapes.py", generator, overrides)
    assert "head.kernel_tower.1.conv.conv_offset.weight" in weights
    assert_round_trips(weights, DEFORMABLE_DIALECTS)


def assert_round_trips(weights: dict[str, Tensor], dialects: dict[str, Dialect]) -> None:
    for dialect in dialects.values():
        theirs, written = convert_from_ours(weights, dialect=dialect)
        if any(part in name for part in LACKING.get(dialect.name, ()) for name in weights):
            assert not written.complete
            continue
        assert written.complete, written.problems()
        assert len(theirs) == len(written.mapped)
        assert find_dialect(list(theirs)) is dialect
        back, read = convert_to_ours(theirs, weights, dialect=dialect)
        assert read.complete, read.problems()
        assert list(back) == list(weights)
        assert all(torch.equal(back[name], weights[name]) for name in weights)
        assert len(read.mapped) + len(read.generated) == len(weights)
        assert bool(read.generated) != dialect.counts_batches
