# COCO with large-scale jitter (arXiv 2012.07177): resize to 0.1 to 2 times the size that fits 1024 x 1024, then crop to
# at most 1024 x 1024.
_base_ = "coco_instance.py"

size = (1024, 1024)
random_resize = dict(
    type="RandomResize", scale=size, ratio_range=(0.1, 2.0), keep_ratio=True, resize_type="mmdet.Resize"
)
crop = dict(
    type="mmdet.RandomCrop",
    crop_type="absolute_range",
    crop_size=size,
    recompute_bbox=True,
    allow_negative_crop=True,
)
filter_tiny = dict(type="mmdet.FilterAnnotations", min_gt_bbox_wh=(0.01, 0.01))
train_pipeline = [_base_.load, _base_.load_instances, random_resize, crop, filter_tiny, _base_.flip, _base_.pack]
# All batches have one size, so images are not grouped by aspect ratio.
train_dataloader = dict(batch_size=8, num_workers=4, batch_sampler=None, dataset=dict(pipeline=train_pipeline))
