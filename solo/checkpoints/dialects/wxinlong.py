"""WXinlong/SOLO, the authors' code on mmdetection 1: heads named `bbox_head` and `mask_feat_head`."""

from solo.checkpoints.dialects.dialect import Dialect
from solo.checkpoints.dialects.mmdet import BACKBONE_AND_NECK, CLASSIFIER, CONV_MODULE, PARAMETER
from solo.checkpoints.key_map import Rule

WXINLONG = Dialect(
    name="wxinlong",
    title="WXinlong/SOLO",
    vocabulary={"block": CONV_MODULE, "parameter": PARAMETER},
    rules=(
        *BACKBONE_AND_NECK,
        Rule("mask_feat_head.convs_all_levels.{level}.conv{i}.{block}", "mask_feature.levels.{level}.{i*2}.{block}"),
        Rule("mask_feat_head.conv_pred.0.{block}", "mask_feature.predictor.{block}"),
        Rule("bbox_head.cate_convs.{i}.{block}", "head.category_tower.{i}.{block}"),
        Rule("bbox_head.kernel_convs.{i}.{block}", "head.kernel_tower.{i}.{block}"),
        Rule("bbox_head.solo_cate.{parameter}", "head.category_predictor.{parameter}"),
        Rule("bbox_head.solo_kernel.{parameter}", "head.kernel_predictor.{parameter}"),
    ),
    dropped=(CLASSIFIER,),
)
