# SOLOv2-rt, ResNet-18-vd, images that fit 640 x 640. Not trained on COCO yet: docs/model_zoo.md.
_base_ = [
    "../_base_/models/solov2-rt.py",
    "../_base_/datasets/coco_instance_rt_640.py",
    "../_base_/schedules/schedule_rt.py",
    "../_base_/default_runtime.py",
]

model = dict(
    backbone=dict(depth=18, init_cfg=dict(checkpoint="imagenet://resnet18d_ra2-48a79e06.pth")),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
