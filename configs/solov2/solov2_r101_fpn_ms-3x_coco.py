# SOLOv2, ResNet-101, 3x, multi-scale: mmdetection's and WXinlong/SOLO's recipe, 39.1 mask AP in both.
_base_ = "solov2_r50_fpn_ms-3x_coco.py"

model = dict(
    backbone=dict(depth=101, init_cfg=dict(checkpoint="imagenet://resnet101-63fe2227.pth")),
)
