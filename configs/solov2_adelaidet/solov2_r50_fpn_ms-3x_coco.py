# AdelaiDet's SOLOv2_R50_3x, 37.6 mask AP there: caffe-style ResNet-50 on BGR images that are not divided by the
# standard deviation, training images of any size, 270,000 iterations.
_base_ = [
    "../_base_/models/solov2_r50_fpn.py",
    "../_base_/datasets/coco_instance_ms.py",
    "../_base_/default_runtime.py",
    "../_base_/schedules/schedule_270k.py",
]

model = dict(
    data_preprocessor=dict(mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], bgr_to_rgb=False),
    backbone=dict(
        style="caffe",
        init_cfg=dict(checkpoint="imagenet://resnet50_msra-5891d200.pth"),
    ),
)

train_dataloader = dict(sampler=dict(type="InfiniteSampler"), dataset=dict(filter_cfg=dict(min_size=0)))

default_hooks = dict(checkpoint=dict(by_epoch=False, interval=10_000))
log_processor = dict(by_epoch=False)
