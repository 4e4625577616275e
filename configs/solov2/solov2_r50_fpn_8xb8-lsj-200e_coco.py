# SOLOv2, ResNet-50, large-scale jitter, 200 epochs: mmdetection's solo_r50_fpn_8xb8-lsj-200e_coco with SOLOv2's model;
# no AP is published. mmdetection trains it with `--amp`.
_base_ = [
    "../_base_/models/solov2_r50_fpn.py",
    "../_base_/datasets/coco_instance_lsj.py",
    "../_base_/schedules/schedule_lsj_200e.py",
    "../_base_/default_runtime.py",
]

model = dict(data_preprocessor=dict(padded_sizes=[(1024, 1024)]))
