# SOLOv2, ResNet-50, large-scale jitter and copy-paste (arXiv 2012.07177), 200 epochs; no AP is published.
_base_ = [
    "../_base_/models/solov2_r50_fpn.py",
    "../_base_/datasets/coco_instance_lsj_copy_paste.py",
    "../_base_/schedules/schedule_lsj_200e.py",
    "../_base_/default_runtime.py",
]
