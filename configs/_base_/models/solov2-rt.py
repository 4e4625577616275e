# SOLOv2 for less than 60 GFLOP an image: pyramid of four maps with 128 channels, head of 2 x 128 channels over 3,344
# cells, 64 mask features, the losses for exact masks and scores of docs/recipes.md. Variants set the backbone and the
# channels of its maps; `scale_ranges` are those of images that fit 640 x 640.
_base_ = "solov2_r50_fpn.py"

model = dict(
    # The backbone trains as a whole: batches are large enough for its norms.
    backbone=dict(type="mmdet.ResNetV1d", frozen_stages=-1, norm_eval=False),
    neck=dict(out_channels=128, num_outs=4),
    grid=dict(
        num_grids=[40, 32, 24, 12],
        strides=[8, 8, 16, 32],
        scale_ranges=[(1, 64), (32, 128), (64, 256), (128, 1024)],
    ),
    mask_feature=dict(in_channels=128, feat_channels=64, out_channels=64, num_groups=16),
    head=dict(in_channels=128, feature_strides=(4, 8, 16, 32), feat_channels=128, num_convs=2),
    criterion=dict(
        loss_cls=dict(_delete_=True, type="QualityFocalLoss"),
        loss_mask=dict(boundary_weight=1.0),
    ),
    # Images are half as large as the paper's, and so are their smallest objects.
    postprocess=dict(min_area_factor=0.25),
)
