# SOLOv2-rt, ResNet-34-vd, images that fit 512 x 512: at 640 x 640 the backbone alone takes 60 GFLOP. Not trained on
# COCO yet: docs/model_zoo.md.
_base_ = [
    "../_base_/models/solov2-rt.py",
    "../_base_/datasets/coco_instance_rt_512.py",
    "../_base_/schedules/schedule_rt.py",
    "../_base_/default_runtime.py",
]

model = dict(
    backbone=dict(depth=34, init_cfg=dict(checkpoint="imagenet://resnet34d_ra2-f8dcfcaf.pth")),
    neck=dict(in_channels=[64, 128, 256, 512]),
    grid=dict(scale_ranges=[(1, 51), (25, 102), (51, 205), (102, 1024)]),
)
