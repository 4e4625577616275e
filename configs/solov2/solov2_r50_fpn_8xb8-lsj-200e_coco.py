# Large-scale jitter as mmdetection trains SOLO with it; it does so with `--amp`.
_base_ = [
    "../_base_/models/solov2_r50_fpn.py",
    "../_base_/datasets/coco_instance_lsj.py",
    "../_base_/schedules/schedule_lsj_200e.py",
    "../_base_/default_runtime.py",
]

model = dict(data_preprocessor=dict(padded_sizes=[(1024, 1024)]))
