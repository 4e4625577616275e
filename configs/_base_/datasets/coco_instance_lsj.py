# Large-scale jitter (arXiv 2012.07177): 0.1 to 2 times the size that fits 1024 x 1024, then at most that much of it.
_base_ = "coco_instance.py"

size = (1024, 1024)
train_pipeline = [
    *_base_.train_pipeline[:2],
    dict(type="RandomResize", scale=size, ratio_range=(0.1, 2.0), keep_ratio=True, resize_type="mmdet.Resize"),
    dict(
        type="mmdet.RandomCrop",
        crop_type="absolute_range",
        crop_size=size,
        recompute_bbox=True,
        allow_negative_crop=True,
    ),
    dict(type="mmdet.FilterAnnotations", min_gt_bbox_wh=(0.01, 0.01)),
    *_base_.train_pipeline[3:],
]
# All batches are of one size, so that shapes need not be alike.
train_dataloader = dict(batch_size=8, num_workers=4, batch_sampler=None, dataset=dict(pipeline=train_pipeline))
