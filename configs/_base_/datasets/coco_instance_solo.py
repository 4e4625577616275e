# COCO with the masks of SOLO's coarser levels, at strides 8 and 16.
_base_ = "coco_instance.py"

train_pipeline = [
    *_base_.train_pipeline[:-1],
    dict(_base_.train_pipeline[-1], coarse_strides=(8, 16)),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
