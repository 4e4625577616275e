# COCO for SOLO, whose coarser levels are trained with masks at strides 8 and 16.
_base_ = "coco_instance.py"

pack = dict(_base_.pack, coarse_strides=(8, 16))
train_pipeline = [_base_.load, _base_.load_instances, _base_.resize, _base_.flip, pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
