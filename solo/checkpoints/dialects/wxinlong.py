"""WXinlong/SOLO, the authors' code on mmdetection 1: heads named `bbox_head` and `mask_feat_head`."""

from solo.checkpoints.dialects.dialect import Dialect
from solo.checkpoints.dialects.mmdet import AXIS, BACKBONE_AND_NECK, CLASSIFIER, CONV_MODULE, PARAMETER
from solo.checkpoints.key_map import Rule

IF_DECOUPLED = "head.mask_predictors_x.0.weight"

WXINLONG = Dialect(
    name="wxinlong",
    title="WXinlong/SOLO",
    vocabulary={"block": CONV_MODULE, "parameter": PARAMETER, "axis": AXIS},
    rules=(
        *BACKBONE_AND_NECK,
        Rule("mask_feat_head.convs_all_levels.{level}.conv{i}.{block}", "mask_feature.levels.{level}.{i*2}.{block}"),
        Rule("mask_feat_head.conv_pred.0.{block}", "mask_feature.predictor.{block}"),
        Rule("bbox_head.cate_convs.{i}.{block}", "head.category_tower.{i}.{block}"),
        Rule("bbox_head.kernel_convs.{i}.{block}", "head.kernel_tower.{i}.{block}"),
        # Decoupled SOLO has other names for its predictors.
        Rule("bbox_head.dsolo_cate.{parameter}", "head.category_predictor.{parameter}", if_ours=IF_DECOUPLED),
        Rule("bbox_head.solo_cate.{parameter}", "head.category_predictor.{parameter}"),
        Rule("bbox_head.solo_kernel.{parameter}", "head.kernel_predictor.{parameter}"),
        Rule("bbox_head.ins_convs{axis}.{i}.{block}", "head.mask_tower{axis}.{i}.{block}"),
        Rule("bbox_head.solo_ins_list.{level}.{parameter}", "head.mask_predictors.{level}.{parameter}"),
        Rule("bbox_head.dsolo_ins_list{axis}.{level}.{parameter}", "head.mask_predictors{axis}.{level}.{parameter}"),
    ),
    dropped=(CLASSIFIER,),
)
