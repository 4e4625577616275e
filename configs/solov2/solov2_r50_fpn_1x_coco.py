# SOLOv2, ResNet-50, 1x (arXiv 2003.10152, section 3): mmdetection's solov2_r50_fpn_1x_coco, 34.8 mask AP there.
# Milestones (9, 11) and warm-up (from 0.01) are those of the authors' WXinlong/SOLO.
_base_ = [
    "../_base_/models/solov2_r50_fpn.py",
    "../_base_/datasets/coco_instance.py",
    "../_base_/schedules/schedule_1x.py",
    "../_base_/default_runtime.py",
]
