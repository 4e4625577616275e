# SOLO, ResNet-50, 3x, multi-scale: mmdetection's solo_r50_fpn_3x_coco, 35.9 mask AP there.
_base_ = [
    "../_base_/models/solo_r50_fpn.py",
    "../_base_/datasets/coco_instance_solo_ms.py",
    "../_base_/schedules/schedule_solo_3x.py",
    "../_base_/default_runtime.py",
]
