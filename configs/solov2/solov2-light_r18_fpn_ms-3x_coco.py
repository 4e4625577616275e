# SOLOv2-light, ResNet-18, 3x, short side 448: mask AP 29.7 in mmdetection, 29.6 in WXinlong/SOLO.
_base_ = "solov2-light_r50_fpn_ms-3x_coco.py"

model = dict(
    backbone=dict(depth=18, init_cfg=dict(checkpoint="imagenet://resnet18-f37072fd.pth")),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
