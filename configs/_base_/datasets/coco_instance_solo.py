# COCO with the masks of SOLO's coarser levels, at strides 8 and 16.
_base_ = "coco_instance.py"

train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadInstances"),
    dict(type="mmdet.Resize", scale=(1333, 800), keep_ratio=True),
    dict(type="mmdet.RandomFlip", prob=0.5),
    dict(type="PackSample", coarse_strides=(8, 16)),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
