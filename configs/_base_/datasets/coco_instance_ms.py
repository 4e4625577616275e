# COCO with multi-scale training: a short side between 640 and 800 pixels is sampled for each image.
_base_ = "coco_instance.py"

multi_scale_resize = dict(
    type="RandomChoiceResize",
    scales=[(1333, 800), (1333, 768), (1333, 736), (1333, 704), (1333, 672), (1333, 640)],
    keep_ratio=True,
    resize_type="mmdet.Resize",
)
train_pipeline = [_base_.load, _base_.load_instances, multi_scale_resize, _base_.flip, _base_.pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
