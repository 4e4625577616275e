# SOLO, ResNet-50, 1x (arXiv 1912.04488, section 3.2): mask AP 33.1 in mmdetection, 32.9 in WXinlong/SOLO.
_base_ = [
    "../_base_/models/solo_r50_fpn.py",
    "../_base_/datasets/coco_instance_solo.py",
    "../_base_/schedules/schedule_solo_1x.py",
    "../_base_/default_runtime.py",
]
