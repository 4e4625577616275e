# Multi-scale training on COCO: a short side between 640 and 800 pixels is drawn for each image.
_base_ = "coco_instance.py"

train_pipeline = [
    *_base_.train_pipeline[:2],
    dict(
        type="RandomChoiceResize",
        scales=[(1333, 800), (1333, 768), (1333, 736), (1333, 704), (1333, 672), (1333, 640)],
        keep_ratio=True,
        resize_type="mmdet.Resize",
    ),
    *_base_.train_pipeline[3:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
