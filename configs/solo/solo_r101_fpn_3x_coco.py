# SOLO, ResNet-101, 3x, multi-scale: WXinlong/SOLO's recipe, 37.1 mask AP there.
_base_ = "solo_r50_fpn_3x_coco.py"

model = dict(
    backbone=dict(depth=101, init_cfg=dict(checkpoint="imagenet://resnet101-63fe2227.pth")),
)
