_base_ = [
    "../_base_/models/solo_r50_fpn.py",
    "../_base_/datasets/coco_instance_solo.py",
    "../_base_/schedules/schedule_solo_1x.py",
    "../_base_/default_runtime.py",
]
