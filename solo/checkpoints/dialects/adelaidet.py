"""AdelaiDet on detectron2: caffe-style ResNet, BGR images without division, every normalisation inside `conv.norm`."""

from solo.checkpoints.dialects.dialect import CAFFE, Dialect, Dropped
from solo.checkpoints.dialects.mmdet import PARAMETER
from solo.checkpoints.key_map import Rule

STATISTICS = {
    "weight": "weight",
    "bias": "bias",
    "running_mean": "running_mean",
    "running_var": "running_var",
    "num_batches_tracked": "num_batches_tracked",
}

ADELAIDET = Dialect(
    name="adelaidet",
    title="AdelaiDet",
    vocabulary={"parameter": PARAMETER, "statistic": STATISTICS},
    rules=(
        Rule("backbone.bottom_up.stem.conv1.weight", "backbone.conv1.weight"),
        Rule("backbone.bottom_up.stem.conv1.norm.{statistic}", "backbone.bn1.{statistic}"),
        Rule("backbone.bottom_up.res{stage+1}.{i}.conv{j}.weight", "backbone.layer{stage}.{i}.conv{j}.weight"),
        Rule(
            "backbone.bottom_up.res{stage+1}.{i}.conv{j}.norm.{statistic}",
            "backbone.layer{stage}.{i}.bn{j}.{statistic}",
        ),
        Rule("backbone.bottom_up.res{stage+1}.{i}.shortcut.weight", "backbone.layer{stage}.{i}.downsample.0.weight"),
        Rule(
            "backbone.bottom_up.res{stage+1}.{i}.shortcut.norm.{statistic}",
            "backbone.layer{stage}.{i}.downsample.1.{statistic}",
        ),
        # In detectron2 the offsets are siblings of the deformable 3x3 convolution.
        Rule(
            "backbone.bottom_up.res{stage+1}.{i}.conv2_offset.{parameter}",
            "backbone.layer{stage}.{i}.conv2.conv_offset.{parameter}",
        ),
        Rule("backbone.fpn_lateral{level+2}.{parameter}", "neck.lateral_convs.{level}.conv.{parameter}"),
        Rule("backbone.fpn_output{level+2}.{parameter}", "neck.fpn_convs.{level}.conv.{parameter}"),
        Rule("ins_head.cate_tower.{i*3}.weight", "head.category_tower.{i}.conv.weight"),
        Rule("ins_head.cate_tower.{i*3+1}.{parameter}", "head.category_tower.{i}.norm.{parameter}"),
        Rule("ins_head.kernel_tower.{i*3}.weight", "head.kernel_tower.{i}.conv.weight"),
        Rule("ins_head.kernel_tower.{i*3+1}.{parameter}", "head.kernel_tower.{i}.norm.{parameter}"),
        Rule("ins_head.cate_pred.{parameter}", "head.category_predictor.{parameter}"),
        Rule("ins_head.kernel_pred.{parameter}", "head.kernel_predictor.{parameter}"),
        Rule("mask_head.convs_all_levels.{level}.conv{i}.0.weight", "mask_feature.levels.{level}.{i*2}.conv.weight"),
        Rule(
            "mask_head.convs_all_levels.{level}.conv{i}.1.{parameter}",
            "mask_feature.levels.{level}.{i*2}.norm.{parameter}",
        ),
        Rule("mask_head.conv_pred.0.weight", "mask_feature.predictor.conv.weight"),
        Rule("mask_head.conv_pred.1.{parameter}", "mask_feature.predictor.norm.{parameter}"),
    ),
    dropped=(
        Dropped("backbone.bottom_up.linear.*", "classifier of the pretrained backbone"),
        Dropped("pixel_mean", "normalisation, which the config states"),
        Dropped("pixel_std", "normalisation, which the config states"),
    ),
    preprocessing=CAFFE,
    backbone_style="caffe",
    counts_batches=False,
)
