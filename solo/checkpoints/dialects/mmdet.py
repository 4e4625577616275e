"""mmdetection 2 and 3: `SOLOv2` and `SOLO` with their heads as `mask_head`. `solo` uses its backbones and necks."""

from solo.checkpoints.dialects.dialect import Dialect, Dropped
from solo.checkpoints.key_map import Rule

CONV_MODULE = {
    "conv.weight": "conv.weight",
    "conv.bias": "conv.bias",
    "conv.conv_offset.weight": "conv.conv_offset.weight",
    "conv.conv_offset.bias": "conv.conv_offset.bias",
    "gn.weight": "norm.weight",
    "gn.bias": "norm.bias",
    # Before mmcv 1.0 the offsets were siblings of the convolution.
    "conv_offset.weight": "conv.conv_offset.weight",
    "conv_offset.bias": "conv.conv_offset.bias",
}
PARAMETER = {"weight": "weight", "bias": "bias"}
# Of Decoupled SOLO, whose masks are products of columns and rows.
AXIS = {"": "", "_x": "_x", "_y": "_y"}

BACKBONE_AND_NECK = (
    Rule(
        "backbone.layer{i}.{j}.conv2_offset.{parameter}",
        "backbone.layer{i}.{j}.conv2.conv_offset.{parameter}",
        read_only=True,
    ),
    Rule("backbone.{rest}", "backbone.{rest}"),
    Rule("neck.{rest}", "neck.{rest}"),
)
CLASSIFIER = Dropped("backbone.fc.*", "classifier of the pretrained backbone")
AVERAGE = Dropped("ema_*", "second set of weights, kept for the moving average; the first set is the average")

MMDET = Dialect(
    name="mmdet",
    title="mmdetection 2 and 3",
    vocabulary={"block": CONV_MODULE, "parameter": PARAMETER, "axis": AXIS},
    rules=(
        *BACKBONE_AND_NECK,
        Rule(
            "mask_head.mask_feature_head.convs_all_levels.{level}.conv{i}.{block}",
            "mask_feature.levels.{level}.{i*2}.{block}",
        ),
        Rule("mask_head.mask_feature_head.conv_pred.{block}", "mask_feature.predictor.{block}"),
        Rule("mask_head.cls_convs.{i}.{block}", "head.category_tower.{i}.{block}"),
        Rule("mask_head.kernel_convs.{i}.{block}", "head.kernel_tower.{i}.{block}"),
        Rule("mask_head.conv_cls.{parameter}", "head.category_predictor.{parameter}"),
        Rule("mask_head.conv_kernel.{parameter}", "head.kernel_predictor.{parameter}"),
        Rule("mask_head.mask_convs{axis}.{i}.{block}", "head.mask_tower{axis}.{i}.{block}"),
        Rule("mask_head.conv_mask_list{axis}.{level}.{parameter}", "head.mask_predictors{axis}.{level}.{parameter}"),
    ),
    dropped=(CLASSIFIER, AVERAGE),
)
