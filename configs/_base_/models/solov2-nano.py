# A small SOLOv2 for CPU training from scratch: a quarter-width ResNet-18, four pyramid levels of 64 channels, a head of
# 2 x 64 channels over 644 cells. From scratch, classes are learned much later than masks: their loss weighs 4, not 1.
_base_ = "solov2_r50_fpn.py"

model = dict(
    backbone=dict(depth=18, base_channels=16, frozen_stages=-1, norm_eval=False, init_cfg=None),
    neck=dict(in_channels=[16, 32, 64, 128], out_channels=64, num_outs=4),
    grid=dict(
        num_grids=[20, 12, 8, 6],
        strides=[8, 8, 16, 32],
        scale_ranges=[(1, 32), (24, 56), (44, 112), (88, 512)],
    ),
    mask_feature=dict(in_channels=64, feat_channels=32, out_channels=32, num_groups=8),
    head=dict(in_channels=64, feature_strides=(4, 8, 16, 32), feat_channels=64, num_convs=2, num_groups=8),
    criterion=dict(loss_cls=dict(loss_weight=4.0)),
    postprocess=dict(min_area_factor=0.25),
)
