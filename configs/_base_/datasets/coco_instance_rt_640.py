# COCO for the real-time models: images that fit 640 x 640 in tests; in training 0.5 to 1.5 times that size, cropped and
# padded to 640 x 640, with objects pasted from another image.
_base_ = "coco_instance.py"

size = (640, 640)
random_resize = dict(
    type="RandomResize", scale=size, ratio_range=(0.5, 1.5), keep_ratio=True, resize_type="mmdet.Resize"
)
crop = dict(type="mmdet.RandomCrop", crop_size=size, recompute_bbox=True, allow_negative_crop=True)
filter_tiny = dict(type="mmdet.FilterAnnotations", min_gt_bbox_wh=(0.01, 0.01))
pad = dict(type="mmdet.Pad", size=size)
test_resize = dict(_base_.test_resize, scale=size)
jitter = [_base_.load, _base_.load_instances, random_resize, crop, filter_tiny, _base_.flip, pad]
copy_paste = dict(type="CopyPaste", pipeline=jitter, max_num_pasted=100)
train_pipeline = [*jitter, copy_paste, _base_.pack]
test_pipeline = [_base_.load, test_resize, _base_.pack]
# All batches have one size, so images are not grouped by aspect ratio.
train_dataloader = dict(batch_size=8, num_workers=4, batch_sampler=None, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
