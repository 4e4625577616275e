# A SOLOv2 for two cores: a quarter-width ResNet-18 from scratch, four pyramid levels of 64 channels, 2 x 64 head.
norm_groups = 8
model = dict(
    type="SOLOv2",
    num_classes=80,
    data_preprocessor=dict(
        type="ImagePreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone=dict(
        type="mmdet.ResNet",
        depth=18,
        base_channels=16,
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        frozen_stages=-1,
        norm_eval=False,
    ),
    neck=dict(type="mmdet.FPN", in_channels=[16, 32, 64, 128], out_channels=64, num_outs=4),
    grid=dict(
        num_grids=[20, 12, 8, 6],
        strides=[8, 8, 16, 32],
        scale_ranges=[(1, 32), (24, 56), (44, 112), (88, 512)],
    ),
    mask_feature=dict(
        type="MaskFeatureBranch",
        in_channels=64,
        num_levels=4,
        feat_channels=32,
        out_channels=32,
        num_groups=norm_groups,
    ),
    head=dict(
        type="SOLOv2Head",
        in_channels=64,
        feature_strides=(4, 8, 16, 32),
        feat_channels=64,
        num_convs=2,
        num_groups=norm_groups,
    ),
    assigner=dict(type="GridAssigner", pos_scale=0.2),
    criterion=dict(
        type="SOLOv2Criterion",
        loss_cls=dict(type="FocalLoss", alpha=0.25, gamma=2.0, loss_weight=4.0),
        loss_mask=dict(type="DiceLoss", loss_weight=3.0),
    ),
    postprocess=dict(
        type="SOLOv2PostProcessor",
        score_thr=0.1,
        mask_thr=0.5,
        min_area_factor=0.25,
        nms_pre=500,
        filter_thr=0.05,
        max_per_img=100,
        nms=dict(type="MatrixNMS", kernel="gaussian", sigma=2.0),
    ),
)
