# ResNeXt-101 64x4d, deformable as the ResNet-101.
_base_ = "solov2_r101-dcn_fpn_ms-3x_coco.py"

model = dict(
    backbone=dict(
        type="mmdet.ResNeXt",
        groups=64,
        base_width=4,
        init_cfg=dict(checkpoint="imagenet://resnext101_64x4d-ee2c6f71.pth"),
    ),
)
