# SOLOv2, ResNet-50, 3x, multi-scale: mmdetection's and WXinlong/SOLO's recipe, 37.5 mask AP in both.
_base_ = [
    "../_base_/models/solov2_r50_fpn.py",
    "../_base_/datasets/coco_instance_ms.py",
    "../_base_/schedules/schedule_3x.py",
    "../_base_/default_runtime.py",
]
