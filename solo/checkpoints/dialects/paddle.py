"""PaddleDetection 2 with the names of modules, and PaddleDetection 0.5, the static graph, with names per parameter."""

from solo.checkpoints.dialects.dialect import Dialect, Rule, read_rules
from solo.checkpoints.dialects.mmdet import PARAMETER, TOWER

VOCABULARY = {
    "parameter": PARAMETER,
    "tower": TOWER,
    "branch": {"a": "1", "b": "2", "c": "3"},
    "letter": {letter: str(index) for index, letter in enumerate("abcdefghij")},
    # A stage of more than ten blocks numbers them: res4a, res4b1, res4b2, ...
    "number": {"a": "0", **{f"b{index}": str(index) for index in range(1, 48)}},
}
# In the vd variant a pooling precedes the convolution of a shortcut.
IF_VD = "backbone.stem.0.weight"
NAME_TABLE = {"StructuredToParameterName@@": "Paddle's table of parameter names"}


def _residual_blocks(table: str) -> tuple[Rule, ...]:
    """Rules of blocks that are counted by letters, and in a third stage of more than ten blocks by numbers."""
    long_stage = table.replace("{letter}", "{number}").replace("{stage+1}", "4").replace("{stage}", "3")
    return read_rules(long_stage, if_ours="backbone.layer3.10.conv1.weight") + read_rules(table)


def _conv_norm(theirs: str, ours: str) -> tuple[Rule, ...]:
    """Rules of a convolution and its normalisation; a deformable convolution has a bias, even before GN."""
    offset = f"{ours}.conv.conv_offset.weight"
    return (
        Rule(f"{theirs}.conv.conv_dcn.{{parameter}}", f"{ours}.conv.{{parameter}}", if_ours=offset),
        Rule(f"{theirs}.{{block}}", f"{ours}.{{block}}"),
    )


PADDLE = Dialect(
    name="paddle",
    title="PaddleDetection 2",
    vocabulary={
        **VOCABULARY,
        "statistic": {"weight": "weight", "bias": "bias", "_mean": "running_mean", "_variance": "running_var"},
        "block": {
            name: name
            for name in ("conv.weight", "norm.weight", "norm.bias", "conv.conv_offset.weight", "conv.conv_offset.bias")
        },
    },
    rules=read_rules("""
        backbone.conv1.conv1.conv.weight                backbone.conv1.weight
        backbone.conv1.conv1.norm.{statistic}           backbone.bn1.{statistic}
        backbone.conv1.conv1_{i+1}.conv.weight          backbone.stem.{i*3}.weight
        backbone.conv1.conv1_{i+1}.norm.{statistic}     backbone.stem.{i*3+1}.{statistic}
    """)
    + _residual_blocks("""
        backbone.res{stage+1}.res{stage+1}{letter}.branch2{branch}.conv.weight
            backbone.layer{stage}.{letter}.conv{branch}.weight
        backbone.res{stage+1}.res{stage+1}{letter}.branch2{branch}.norm.{statistic}
            backbone.layer{stage}.{letter}.bn{branch}.{statistic}
        backbone.res{stage+1}.res{stage+1}{letter}.branch2b.conv_offset.{parameter}
            backbone.layer{stage}.{letter}.conv2.conv_offset.{parameter}
    """)
    # In the first stage the pooling of the vd variant has size 1, and no module.
    + read_rules(
        """
        backbone.res2.res2a.short.conv.weight           backbone.layer1.0.downsample.1.weight
        backbone.res2.res2a.short.norm.{statistic}      backbone.layer1.0.downsample.2.{statistic}
        """,
        if_theirs="backbone.conv1.conv1_1.conv.weight",
        if_ours=IF_VD,
    )
    + read_rules(
        """
        backbone.res{stage+1}.res{stage+1}a.short.conv.conv.weight       backbone.layer{stage}.0.downsample.1.weight
        backbone.res{stage+1}.res{stage+1}a.short.conv.norm.{statistic}
            backbone.layer{stage}.0.downsample.2.{statistic}
        """,
        if_ours=IF_VD,
    )
    + read_rules("""
        backbone.res{stage+1}.res{stage+1}a.short.conv.weight       backbone.layer{stage}.0.downsample.0.weight
        backbone.res{stage+1}.res{stage+1}a.short.norm.{statistic}  backbone.layer{stage}.0.downsample.1.{statistic}
        neck.fpn_inner_res5_sum.{parameter}                         neck.lateral_convs.3.conv.{parameter}
        neck.fpn_inner_res{level+2}_sum_lateral.{parameter}         neck.lateral_convs.{level}.conv.{parameter}
        neck.fpn_res{level+2}_sum.{parameter}                       neck.fpn_convs.{level}.conv.{parameter}
        solov2_head.bbox_head.solo_{tower}.{parameter}              head.{tower}_predictor.{parameter}
        solov2_head.solo_{tower}.{parameter}                        head.{tower}_predictor.{parameter}
    """)
    + _conv_norm("solov2_head.bbox_head.{tower}_convs.{i}", "head.{tower}_tower.{i}")
    + _conv_norm(
        "mask_head.conv_pre_feat{level}.mask_feat_head.convs_all_levels.{level}.conv{i}",
        "mask_feature.levels.{level}.{i*2}",
    )
    + _conv_norm("mask_head.mask_feat_head.conv_pred.0", "mask_feature.predictor")
    + _conv_norm("mask_head.conv_pred", "mask_feature.predictor"),
    dropped={**NAME_TABLE, "backbone.fc.*": "classifier of the pretrained backbone"},
    counts_batches=False,
)

PADDLE_STATIC = Dialect(
    name="paddle-static",
    title="PaddleDetection 0.5 (static graph)",
    vocabulary={
        **VOCABULARY,
        "statistic": {"scale": "weight", "offset": "bias", "mean": "running_mean", "variance": "running_var"},
        "w": {"w": "weight", "b": "bias"},
        "block": {
            "_weights": "conv.weight",
            ".gn_scale": "norm.weight",
            ".gn_offset": "norm.bias",
            "_bias": "conv.bias",
            "_conv_offset.w_0": "conv.conv_offset.weight",
            "_conv_offset.b_0": "conv.conv_offset.bias",
        },
        "conv": {name: name for name in ("expand", "depthwise", "linear")},
        "gate": {"1": "squeeze", "2": "excite"},
    },
    # MobileNetV3 counts its blocks from conv2; its first convolution shares a name with ResNet's.
    rules=read_rules("conv1_weights backbone.conv1.conv.weight", if_theirs="conv2_expand_weights")
    + read_rules("""
        conv1_bn_{statistic}                    backbone.conv1.bn.{statistic}
        conv{i+2}_{conv}_weights                backbone.blocks.{i}.{conv}.conv.weight
        conv{i+2}_{conv}_bn_{statistic}         backbone.blocks.{i}.{conv}.bn.{statistic}
        conv{i+2}_se_{gate}_weights             backbone.blocks.{i}.gate.{gate}.weight
        conv{i+2}_se_{gate}_offset              backbone.blocks.{i}.gate.{gate}.bias
        conv_last_weights                       backbone.conv_last.conv.weight
        conv_last_bn_{statistic}                backbone.conv_last.bn.{statistic}
        conv1_weights                           backbone.conv1.weight
        bn_conv1_{statistic}                    backbone.bn1.{statistic}
        conv1_{i+1}_weights                     backbone.stem.{i*3}.weight
        bnv1_{i+1}_{statistic}                  backbone.stem.{i*3+1}.{statistic}
    """)
    + _residual_blocks("""
        res{stage+1}{letter}_branch2{branch}_weights        backbone.layer{stage}.{letter}.conv{branch}.weight
        bn{stage+1}{letter}_branch2{branch}_{statistic}     backbone.layer{stage}.{letter}.bn{branch}.{statistic}
        res{stage+1}{letter}_branch2b_conv_offset.{w}_0     backbone.layer{stage}.{letter}.conv2.conv_offset.{w}
    """)
    + read_rules(
        """
        res{stage+1}a_branch1_weights           backbone.layer{stage}.0.downsample.1.weight
        bn{stage+1}a_branch1_{statistic}        backbone.layer{stage}.0.downsample.2.{statistic}
        """,
        if_theirs="conv1_1_weights",
        if_ours=IF_VD,
    )
    + read_rules(
        """
        fpn_inner_mv3_3_{w}                     neck.lateral_convs.3.conv.{w}
        fpn_inner_mv3_{level}_lateral_{w}       neck.lateral_convs.{level}.conv.{w}
        fpn_mv3_{level}_{w}                     neck.fpn_convs.{level}.conv.{w}
        """,
        if_ours="backbone.conv_last.conv.weight",  # of MobileNetV3
    )
    + read_rules("""
        res{stage+1}a_branch1_weights           backbone.layer{stage}.0.downsample.0.weight
        bn{stage+1}a_branch1_{statistic}        backbone.layer{stage}.0.downsample.1.{statistic}
        fpn_inner_res5_sum_{w}                  neck.lateral_convs.3.conv.{w}
        fpn_inner_res{level+2}_sum_lateral_{w}  neck.lateral_convs.{level}.conv.{w}
        fpn_res{level+2}_sum_{w}                neck.fpn_convs.{level}.conv.{w}
        bbox_head.{tower}_convs.{i}{block}      head.{tower}_tower.{i}.{block}
        bbox_head.solo_{tower}.{parameter}      head.{tower}_predictor.{parameter}
        mask_feat_head.convs_all_levels.{level}.conv{i}{block}  mask_feature.levels.{level}.{i*2}.{block}
        mask_feat_head.conv_pred.0{block}       mask_feature.predictor.{block}
    """),
    dropped={
        **NAME_TABLE,
        "fc_0.*": "classifier of the pretrained backbone",
        "learning_rate*": "state of the optimiser",
        "@LR_DECAY_COUNTER@": "state of the optimiser",
    },
    counts_batches=False,
)
