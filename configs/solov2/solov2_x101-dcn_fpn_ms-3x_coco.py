# SOLOv2, ResNeXt-101 64x4d, DCNv2, 3x, multi-scale: 42.4 mask AP in mmdetection and in WXinlong/SOLO. Deformable
# convolutions as in solov2_r101-dcn_fpn_ms-3x_coco.py.
_base_ = "solov2_r50_fpn_ms-3x_coco.py"

dcn = dict(type="DCNv2")
model = dict(
    backbone=dict(
        type="mmdet.ResNeXt",
        depth=101,
        groups=64,
        base_width=4,
        dcn=dict(type="solo.DCNv2", deform_groups=1, fallback_on_stride=False),
        stage_with_dcn=(False, True, True, True),
        init_cfg=dict(checkpoint="imagenet://resnext101_64x4d-ee2c6f71.pth"),
    ),
    mask_feature=dict(dcn=dcn),
    head=dict(dcn=dcn),
)
