# COCO for the real-time models: images that fit 640 x 640 in tests; in training 0.5 to 1.5 times that size, cropped and
# padded to 640 x 640, with objects pasted from another image.
_base_ = "coco_instance_lsj_copy_paste.py"

size = (640, 640)
random_resize = dict(_base_.random_resize, scale=size, ratio_range=(0.5, 1.5))
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
