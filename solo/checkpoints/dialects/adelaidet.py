"""AdelaiDet on detectron2: caffe-style ResNet, BGR images without division, every normalisation inside `conv.norm`."""

from solo.checkpoints.dialects.dialect import CAFFE, Dialect, read_rules
from solo.checkpoints.dialects.mmdet import PARAMETER, TOWER

ADELAIDET = Dialect(
    name="adelaidet",
    title="AdelaiDet",
    vocabulary={
        "parameter": PARAMETER,
        "tower": TOWER,
        "statistic": {name: name for name in (*PARAMETER, "running_mean", "running_var", "num_batches_tracked")},
        # In detectron2 the offsets are siblings of the deformable 3x3 convolution.
        "conv": {"conv1": "conv1", "conv2": "conv2", "conv2_offset": "conv2.conv_offset", "conv3": "conv3"},
    },
    rules=read_rules("""
        backbone.bottom_up.stem.conv1.weight              backbone.conv1.weight
        backbone.bottom_up.stem.conv1.norm.{statistic}    backbone.bn1.{statistic}
        backbone.bottom_up.res{stage+1}.{i}.{conv}.{parameter}              backbone.layer{stage}.{i}.{conv}.{parameter}
        backbone.bottom_up.res{stage+1}.{i}.conv{j}.norm.{statistic}        backbone.layer{stage}.{i}.bn{j}.{statistic}
        backbone.bottom_up.res{stage+1}.{i}.shortcut.weight           backbone.layer{stage}.{i}.downsample.0.weight
        backbone.bottom_up.res{stage+1}.{i}.shortcut.norm.{statistic} backbone.layer{stage}.{i}.downsample.1.{statistic}
        backbone.fpn_lateral{level+2}.{parameter}         neck.lateral_convs.{level}.conv.{parameter}
        backbone.fpn_output{level+2}.{parameter}          neck.fpn_convs.{level}.conv.{parameter}
        ins_head.{tower}_tower.{i*3}.weight               head.{tower}_tower.{i}.conv.weight
        ins_head.{tower}_tower.{i*3+1}.{parameter}        head.{tower}_tower.{i}.norm.{parameter}
        ins_head.{tower}_pred.{parameter}                 head.{tower}_predictor.{parameter}
        mask_head.convs_all_levels.{level}.conv{i}.0.weight        mask_feature.levels.{level}.{i*2}.conv.weight
        mask_head.convs_all_levels.{level}.conv{i}.1.{parameter}   mask_feature.levels.{level}.{i*2}.norm.{parameter}
        mask_head.conv_pred.0.weight                      mask_feature.predictor.conv.weight
        mask_head.conv_pred.1.{parameter}                 mask_feature.predictor.norm.{parameter}
    """),
    dropped={
        "backbone.bottom_up.linear.*": "classifier of the pretrained backbone",
        "pixel_mean": "normalisation, which the config states",
        "pixel_std": "normalisation, which the config states",
    },
    preprocessing=CAFFE,
    backbone_style="caffe",
    counts_batches=False,
)
