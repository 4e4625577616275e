# SOLOv2-light, ResNet-34, 3x, short side 448: mask AP 31.9 in mmdetection, 32.0 in WXinlong/SOLO.
_base_ = "solov2-light_r50_fpn_ms-3x_coco.py"

model = dict(
    backbone=dict(depth=34, init_cfg=dict(checkpoint="imagenet://resnet34-b627a593.pth")),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
