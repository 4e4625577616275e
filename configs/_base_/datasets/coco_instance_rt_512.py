# The same at 512 x 512.
_base_ = "coco_instance_rt_640.py"

size = (512, 512)
random_resize = dict(_base_.random_resize, scale=size)
crop = dict(_base_.crop, crop_size=size)
pad = dict(_base_.pad, size=size)
test_resize = dict(_base_.test_resize, scale=size)
jitter = [_base_.load, _base_.load_instances, random_resize, crop, _base_.filter_tiny, _base_.flip, pad]
copy_paste = dict(_base_.copy_paste, pipeline=jitter)
train_pipeline = [*jitter, copy_paste, _base_.pack]
test_pipeline = [_base_.load, test_resize, _base_.pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
