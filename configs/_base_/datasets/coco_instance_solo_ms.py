# Multi-scale training as in coco_instance_ms.py, with the masks of SOLO's coarser levels.
_base_ = "coco_instance.py"

train_pipeline = [
    dict(type="LoadImage"),
    dict(type="LoadInstances"),
    dict(
        type="RandomChoiceResize",
        scales=[(1333, 800), (1333, 768), (1333, 736), (1333, 704), (1333, 672), (1333, 640)],
        keep_ratio=True,
        resize_type="mmdet.Resize",
    ),
    dict(type="mmdet.RandomFlip", prob=0.5),
    dict(type="PackSample", coarse_strides=(8, 16)),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
