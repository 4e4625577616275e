# SOLOv2-rt, HGNetV2-B1 of timm (`pip install solov2[timm]`), images that fit 640 x 640. timm downloads the ImageNet
# weights when a training starts. Not trained on COCO yet: docs/model_zoo.md.
_base_ = "solov2-rt_r18-vd_fpn_640-6x_coco.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="TimmBackbone",
        model_name="hgnetv2_b1.ssld_stage2_ft_in1k",
        pretrained=True,
    ),
    neck=dict(in_channels=[64, 256, 512, 1024]),
)
