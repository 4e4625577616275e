# COCO for light models: a short side between 352 and 512 pixels in training, 448 in tests.
_base_ = "coco_instance.py"

multi_scale_resize = dict(
    type="RandomChoiceResize",
    scales=[(768, 512), (768, 480), (768, 448), (768, 416), (768, 384), (768, 352)],
    keep_ratio=True,
    resize_type="mmdet.Resize",
)
test_resize = dict(_base_.test_resize, scale=(768, 448))
train_pipeline = [_base_.load, _base_.load_instances, multi_scale_resize, _base_.flip, _base_.pack]
test_pipeline = [_base_.load, test_resize, _base_.pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
