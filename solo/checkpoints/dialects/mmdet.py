"""OpenMMLab's heads: mmdetection 2 and 3, and WXinlong/SOLO, the authors' code on mmdetection 1.

`solo` uses the backbones and necks of mmdetection.
"""

from solo.checkpoints.dialects.dialect import Dialect, read_rules

PARAMETER = {"weight": "weight", "bias": "bias"}
TOWER = {"cate": "category", "kernel": "kernel"}
VOCABULARY = {
    "parameter": PARAMETER,
    "tower": TOWER,
    "block": {
        "conv.weight": "conv.weight",
        "conv.bias": "conv.bias",
        "conv.conv_offset.weight": "conv.conv_offset.weight",
        "conv.conv_offset.bias": "conv.conv_offset.bias",
        "gn.weight": "norm.weight",
        "gn.bias": "norm.bias",
        # Before mmcv 1.0 the offsets were siblings of the convolution.
        "conv_offset.weight": "conv.conv_offset.weight",
        "conv_offset.bias": "conv.conv_offset.bias",
    },
    "offset": {"conv2.conv_offset": "conv2.conv_offset", "conv2_offset": "conv2.conv_offset"},
    # Of Decoupled SOLO, whose masks are products of columns and rows.
    "axis": {"": "", "_x": "_x", "_y": "_y"},
}
BACKBONE_AND_NECK = read_rules("""
    backbone.layer{i}.{j}.{offset}.{parameter}  backbone.layer{i}.{j}.{offset}.{parameter}
    backbone.{rest}                             backbone.{rest}
    neck.{rest}                                 neck.{rest}
""")
CLASSIFIER = {"backbone.fc.*": "classifier of the pretrained backbone"}

MMDET = Dialect(
    name="mmdet",
    title="mmdetection 2 and 3",
    vocabulary={**VOCABULARY, "tower": {"cls": "category", "kernel": "kernel"}},
    rules=BACKBONE_AND_NECK
    + read_rules("""
        mask_head.mask_feature_head.convs_all_levels.{level}.conv{i}.{block}  mask_feature.levels.{level}.{i*2}.{block}
        mask_head.mask_feature_head.conv_pred.{block}                         mask_feature.predictor.{block}
        mask_head.{tower}_convs.{i}.{block}           head.{tower}_tower.{i}.{block}
        mask_head.conv_{tower}.{parameter}            head.{tower}_predictor.{parameter}
        mask_head.mask_convs{axis}.{i}.{block}        head.mask_tower{axis}.{i}.{block}
        mask_head.conv_mask_list{axis}.{level}.{parameter}  head.mask_predictors{axis}.{level}.{parameter}
    """),
    dropped={
        **CLASSIFIER,
        "ema_*": "second set of weights, kept for the moving average; the first set is the average",
    },
)

WXINLONG = Dialect(
    name="wxinlong",
    title="WXinlong/SOLO",
    vocabulary=VOCABULARY,
    rules=BACKBONE_AND_NECK
    # Decoupled SOLO has other names for its predictors.
    + read_rules(
        "bbox_head.dsolo_cate.{parameter} head.category_predictor.{parameter}",
        if_ours="head.mask_predictors_x.0.weight",
    )
    + read_rules("""
        mask_feat_head.convs_all_levels.{level}.conv{i}.{block}   mask_feature.levels.{level}.{i*2}.{block}
        mask_feat_head.conv_pred.0.{block}                        mask_feature.predictor.{block}
        bbox_head.{tower}_convs.{i}.{block}                       head.{tower}_tower.{i}.{block}
        bbox_head.solo_{tower}.{parameter}                        head.{tower}_predictor.{parameter}
        bbox_head.ins_convs{axis}.{i}.{block}                     head.mask_tower{axis}.{i}.{block}
        bbox_head.solo_ins_list.{level}.{parameter}               head.mask_predictors.{level}.{parameter}
        bbox_head.dsolo_ins_list{axis}.{level}.{parameter}        head.mask_predictors{axis}.{level}.{parameter}
    """),
    dropped=CLASSIFIER,
)
