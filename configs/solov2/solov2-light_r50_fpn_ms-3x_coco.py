# SOLOv2-light, ResNet-50, 3x, short side 448: mmdetection's and WXinlong/SOLO's recipe, 33.7 mask AP in both.
_base_ = [
    "../_base_/models/solov2-light_r50_fpn.py",
    "../_base_/datasets/coco_instance_ms_448.py",
    "../_base_/schedules/schedule_3x.py",
    "../_base_/default_runtime.py",
]
