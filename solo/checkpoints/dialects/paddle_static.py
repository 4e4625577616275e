"""PaddleDetection 0.5, the static graph: flat names given to each parameter."""

from itertools import chain

from solo.checkpoints.dialects.dialect import Dialect, Dropped
from solo.checkpoints.dialects.mmdet import PARAMETER
from solo.checkpoints.dialects.paddle import BRANCHES, IF_LONG, IF_VD, LETTERS, LONG_STAGE
from solo.checkpoints.key_map import Rule

STATISTICS = {"scale": "weight", "offset": "bias", "mean": "running_mean", "variance": "running_var"}
BLOCK = {
    "_weights": "conv.weight",
    ".gn_scale": "norm.weight",
    ".gn_offset": "norm.bias",
    "_bias": "conv.bias",
    "_conv_offset.w_0": "conv.conv_offset.weight",
    "_conv_offset.b_0": "conv.conv_offset.bias",
}
SHORT_PARAMETER = {"w": "weight", "b": "bias"}
OFFSET_PARAMETER = {"w_0": "weight", "b_0": "bias"}
STAGES_OF_BLOCK = {name: name for name in ("expand", "depthwise", "linear")}
GATE_CONVS = {"1": "squeeze", "2": "excite"}
IF_THEIR_VD = "conv1_1_weights"


def _residual_block(block: str, ours: str, if_ours: str | None = None) -> tuple[Rule, ...]:
    return (
        Rule(f"res{block}_branch2{{branch}}_weights", f"{ours}.conv{{branch}}.weight", if_ours=if_ours),
        Rule(f"bn{block}_branch2{{branch}}_{{statistic}}", f"{ours}.bn{{branch}}.{{statistic}}", if_ours=if_ours),
        Rule(
            f"res{block}_branch2b_conv_offset.{{offset_parameter}}",
            f"{ours}.conv2.conv_offset.{{offset_parameter}}",
            if_ours=if_ours,
        ),
    )


STEM = (
    Rule("conv1_weights", "backbone.conv1.weight"),
    Rule("bn_conv1_{statistic}", "backbone.bn1.{statistic}"),
    Rule("conv1_{i+1}_weights", "backbone.stem.{i*3}.weight"),
    Rule("bnv1_{i+1}_{statistic}", "backbone.stem.{i*3+1}.{statistic}"),
)
# MobileNetV3 counts its blocks from conv2; its first convolution shares a name with ResNet's.
IF_THEIR_MOBILE = "conv2_expand_weights"
IF_MOBILE = "backbone.conv_last.conv.weight"
MOBILE = (
    Rule("conv1_weights", "backbone.conv1.conv.weight", if_theirs=IF_THEIR_MOBILE),
    Rule("conv1_bn_{statistic}", "backbone.conv1.bn.{statistic}"),
    Rule("conv{i+2}_{stage_of_block}_weights", "backbone.blocks.{i}.{stage_of_block}.conv.weight"),
    Rule("conv{i+2}_{stage_of_block}_bn_{statistic}", "backbone.blocks.{i}.{stage_of_block}.bn.{statistic}"),
    Rule("conv{i+2}_se_{gate_conv}_weights", "backbone.blocks.{i}.gate.{gate_conv}.weight"),
    Rule("conv{i+2}_se_{gate_conv}_offset", "backbone.blocks.{i}.gate.{gate_conv}.bias"),
    Rule("conv_last_weights", "backbone.conv_last.conv.weight"),
    Rule("conv_last_bn_{statistic}", "backbone.conv_last.bn.{statistic}"),
)
MOBILE_NECK = (
    Rule("fpn_inner_mv3_3_{short_parameter}", "neck.lateral_convs.3.conv.{short_parameter}", if_ours=IF_MOBILE),
    Rule(
        "fpn_inner_mv3_{level}_lateral_{short_parameter}",
        "neck.lateral_convs.{level}.conv.{short_parameter}",
        if_ours=IF_MOBILE,
    ),
    Rule("fpn_mv3_{level}_{short_parameter}", "neck.fpn_convs.{level}.conv.{short_parameter}", if_ours=IF_MOBILE),
)
SHORTCUTS = (
    Rule("res{stage+1}a_branch1_weights", "backbone.layer{stage}.0.downsample.1.weight", IF_THEIR_VD, IF_VD),
    Rule("bn{stage+1}a_branch1_{statistic}", "backbone.layer{stage}.0.downsample.2.{statistic}", IF_THEIR_VD, IF_VD),
    Rule("res{stage+1}a_branch1_weights", "backbone.layer{stage}.0.downsample.0.weight"),
    Rule("bn{stage+1}a_branch1_{statistic}", "backbone.layer{stage}.0.downsample.1.{statistic}"),
)
NECK = (
    Rule("fpn_inner_res5_sum_{short_parameter}", "neck.lateral_convs.3.conv.{short_parameter}"),
    Rule("fpn_inner_res{level+2}_sum_lateral_{short_parameter}", "neck.lateral_convs.{level}.conv.{short_parameter}"),
    Rule("fpn_res{level+2}_sum_{short_parameter}", "neck.fpn_convs.{level}.conv.{short_parameter}"),
)
HEADS = (
    Rule("bbox_head.cate_convs.{i}{block}", "head.category_tower.{i}.{block}"),
    Rule("bbox_head.kernel_convs.{i}{block}", "head.kernel_tower.{i}.{block}"),
    Rule("bbox_head.solo_cate.{parameter}", "head.category_predictor.{parameter}"),
    Rule("bbox_head.solo_kernel.{parameter}", "head.kernel_predictor.{parameter}"),
    Rule("mask_feat_head.convs_all_levels.{level}.conv{i}{block}", "mask_feature.levels.{level}.{i*2}.{block}"),
    Rule("mask_feat_head.conv_pred.0{block}", "mask_feature.predictor.{block}"),
)

PADDLE_STATIC = Dialect(
    name="paddle-static",
    title="PaddleDetection 0.5 (static graph)",
    vocabulary={
        "statistic": STATISTICS,
        "parameter": PARAMETER,
        "short_parameter": SHORT_PARAMETER,
        "offset_parameter": OFFSET_PARAMETER,
        "branch": BRANCHES,
        "letter": LETTERS,
        "number": LONG_STAGE,
        "block": BLOCK,
        "stage_of_block": STAGES_OF_BLOCK,
        "gate_conv": GATE_CONVS,
    },
    rules=tuple(
        chain(
            MOBILE,
            STEM,
            _residual_block("4{number}", "backbone.layer3.{number}", if_ours=IF_LONG),
            _residual_block("{stage+1}{letter}", "backbone.layer{stage}.{letter}"),
            SHORTCUTS,
            MOBILE_NECK,
            NECK,
            HEADS,
        )
    ),
    dropped=(
        Dropped("StructuredToParameterName@@", "Paddle's table of parameter names"),
        Dropped("fc_0.*", "classifier of the pretrained backbone"),
        Dropped("learning_rate*", "state of the optimiser"),
        Dropped("@LR_DECAY_COUNTER@", "state of the optimiser"),
    ),
    counts_batches=False,
)
