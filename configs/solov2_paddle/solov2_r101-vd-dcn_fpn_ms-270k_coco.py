# PaddleDetection 0.5's solov2_r101_vd_fpn_3x, 42.6 mask AP there: as PaddleDetection 2's, but deformable convolutions
# have no bias and the warm-up takes 1000 iterations.
_base_ = "solov2_r50_fpn_ms-270k_coco.py"

dcn = dict(type="DCNv2")
model = dict(
    backbone=dict(
        type="mmdet.ResNetV1d",
        depth=101,
        dcn=dict(type="solo.DCNv2", deform_groups=1, fallback_on_stride=False),
        stage_with_dcn=(False, True, True, True),
        init_cfg=dict(checkpoint="imagenet://ResNet101_vd_pretrained.pdparams"),
    ),
    mask_feature=dict(dcn=dcn),
    head=dict(dcn=dcn),
)
custom_hooks = [*_base_.custom_hooks, dict(type="BiasCorrectedEMAHook", decay=0.9998)]
