_base_ = "decoupled-solo_r50_fpn_3x_coco.py"

model = dict(
    backbone=dict(depth=101, init_cfg=dict(checkpoint="imagenet://resnet101-63fe2227.pth")),
)
