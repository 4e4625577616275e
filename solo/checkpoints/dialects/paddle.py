"""PaddleDetection 2: names of modules; the predictors are in the file twice, under two names."""

from itertools import chain

from solo.checkpoints.dialects.dialect import Dialect, Dropped
from solo.checkpoints.dialects.mmdet import PARAMETER
from solo.checkpoints.key_map import Rule

STATISTICS = {"weight": "weight", "bias": "bias", "_mean": "running_mean", "_variance": "running_var"}
BRANCHES = {"a": "1", "b": "2", "c": "3"}
LETTERS = {letter: str(index) for index, letter in enumerate("abcdefghij")}
# A stage of more than ten blocks numbers them: res4a, res4b1, res4b2, ...
LONG_STAGE = {"a": "0", **{f"b{index}": str(index) for index in range(1, 48)}}
IF_LONG = "backbone.layer3.10.conv1.weight"

IF_VD = "backbone.stem.0.weight"
IF_THEIR_VD = "backbone.conv1.conv1_1.conv.weight"

# A deformable convolution has a bias, even before group normalisation.
BLOCK = {"conv.weight": "conv.weight", "norm.weight": "norm.weight", "norm.bias": "norm.bias"}
DEFORMABLE_BLOCK = {
    "conv.conv_dcn.weight": "conv.weight",
    "conv.conv_dcn.bias": "conv.bias",
    "conv.conv_offset.weight": "conv.conv_offset.weight",
    "conv.conv_offset.bias": "conv.conv_offset.bias",
}


def _residual_block(theirs: str, ours: str, if_ours: str | None = None) -> tuple[Rule, ...]:
    return (
        Rule(f"{theirs}.branch2{{branch}}.conv.weight", f"{ours}.conv{{branch}}.weight", if_ours=if_ours),
        Rule(f"{theirs}.branch2{{branch}}.norm.{{statistic}}", f"{ours}.bn{{branch}}.{{statistic}}", if_ours=if_ours),
        Rule(
            f"{theirs}.branch2b.conv_offset.{{parameter}}", f"{ours}.conv2.conv_offset.{{parameter}}", if_ours=if_ours
        ),
    )


def _conv_norm_relu(theirs: str, ours: str, *, read_only: bool = False) -> tuple[Rule, ...]:
    return (
        Rule(
            f"{theirs}.{{deformable_block}}",
            f"{ours}.{{deformable_block}}",
            if_ours=f"{ours}.conv.conv_offset.weight",
            read_only=read_only,
        ),
        Rule(f"{theirs}.{{block}}", f"{ours}.{{block}}", read_only=read_only),
    )


STEM = (
    Rule("backbone.conv1.conv1.conv.weight", "backbone.conv1.weight"),
    Rule("backbone.conv1.conv1.norm.{statistic}", "backbone.bn1.{statistic}"),
    Rule("backbone.conv1.conv1_{i+1}.conv.weight", "backbone.stem.{i*3}.weight"),
    Rule("backbone.conv1.conv1_{i+1}.norm.{statistic}", "backbone.stem.{i*3+1}.{statistic}"),
)
# In the vd variant a pooling precedes the convolution; in the first stage its size is 1.
SHORTCUTS = (
    Rule("backbone.res2.res2a.short.conv.weight", "backbone.layer1.0.downsample.1.weight", IF_THEIR_VD, IF_VD),
    Rule(
        "backbone.res2.res2a.short.norm.{statistic}", "backbone.layer1.0.downsample.2.{statistic}", IF_THEIR_VD, IF_VD
    ),
    Rule(
        "backbone.res{stage+1}.res{stage+1}a.short.conv.conv.weight",
        "backbone.layer{stage}.0.downsample.1.weight",
        if_ours=IF_VD,
    ),
    Rule(
        "backbone.res{stage+1}.res{stage+1}a.short.conv.norm.{statistic}",
        "backbone.layer{stage}.0.downsample.2.{statistic}",
        if_ours=IF_VD,
    ),
    Rule("backbone.res{stage+1}.res{stage+1}a.short.conv.weight", "backbone.layer{stage}.0.downsample.0.weight"),
    Rule(
        "backbone.res{stage+1}.res{stage+1}a.short.norm.{statistic}",
        "backbone.layer{stage}.0.downsample.1.{statistic}",
    ),
)
NECK = (
    Rule("neck.fpn_inner_res5_sum.{parameter}", "neck.lateral_convs.3.conv.{parameter}"),
    Rule("neck.fpn_inner_res{level+2}_sum_lateral.{parameter}", "neck.lateral_convs.{level}.conv.{parameter}"),
    Rule("neck.fpn_res{level+2}_sum.{parameter}", "neck.fpn_convs.{level}.conv.{parameter}"),
)
HEADS = (
    *_conv_norm_relu("solov2_head.bbox_head.cate_convs.{i}", "head.category_tower.{i}"),
    *_conv_norm_relu("solov2_head.bbox_head.kernel_convs.{i}", "head.kernel_tower.{i}"),
    *_conv_norm_relu(
        "mask_head.conv_pre_feat{level}.mask_feat_head.convs_all_levels.{level}.conv{i}",
        "mask_feature.levels.{level}.{i*2}",
    ),
    *_conv_norm_relu("mask_head.mask_feat_head.conv_pred.0", "mask_feature.predictor"),
    Rule("solov2_head.bbox_head.solo_cate.{parameter}", "head.category_predictor.{parameter}"),
    Rule("solov2_head.bbox_head.solo_kernel.{parameter}", "head.kernel_predictor.{parameter}"),
)
SECOND_NAMES = (
    *_conv_norm_relu("mask_head.conv_pred", "mask_feature.predictor", read_only=True),
    Rule("solov2_head.solo_cate.{parameter}", "head.category_predictor.{parameter}", read_only=True),
    Rule("solov2_head.solo_kernel.{parameter}", "head.kernel_predictor.{parameter}", read_only=True),
)

PADDLE = Dialect(
    name="paddle",
    title="PaddleDetection 2",
    vocabulary={
        "statistic": STATISTICS,
        "parameter": PARAMETER,
        "branch": BRANCHES,
        "letter": LETTERS,
        "number": LONG_STAGE,
        "block": BLOCK,
        "deformable_block": DEFORMABLE_BLOCK,
    },
    rules=tuple(
        chain(
            STEM,
            _residual_block("backbone.res4.res4{number}", "backbone.layer3.{number}", if_ours=IF_LONG),
            _residual_block("backbone.res{stage+1}.res{stage+1}{letter}", "backbone.layer{stage}.{letter}"),
            SHORTCUTS,
            NECK,
            HEADS,
            SECOND_NAMES,
        )
    ),
    dropped=(
        Dropped("StructuredToParameterName@@", "Paddle's table of parameter names"),
        Dropped("backbone.fc.*", "classifier of the pretrained backbone"),
    ),
    counts_batches=False,
)
