# Multi-scale training as in coco_instance_ms.py, with the masks of SOLO's coarser levels.
_base_ = "coco_instance_ms.py"

train_pipeline = [
    *_base_.train_pipeline[:-1],
    dict(_base_.train_pipeline[-1], coarse_strides=(8, 16)),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
