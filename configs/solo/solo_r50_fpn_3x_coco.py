_base_ = [
    "../_base_/models/solo_r50_fpn.py",
    "../_base_/datasets/coco_instance_solo_ms.py",
    "../_base_/schedules/schedule_solo_3x.py",
    "../_base_/default_runtime.py",
]
