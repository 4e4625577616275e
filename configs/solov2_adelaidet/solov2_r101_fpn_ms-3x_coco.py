# AdelaiDet's SOLOv2_R101_3x, 39.0 mask AP there.
_base_ = "solov2_r50_fpn_ms-3x_coco.py"

model = dict(
    backbone=dict(depth=101, init_cfg=dict(checkpoint="imagenet://resnet101_msra-6cc46731.pth")),
)
