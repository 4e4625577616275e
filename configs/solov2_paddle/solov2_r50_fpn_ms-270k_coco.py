# PaddleDetection 0.5's solov2_r50_fpn_3x, 37.9 mask AP there: 270,000 iterations, short side between 640 and 800
# pixels.
_base_ = "solov2_r50_fpn_1x_coco.py"

multi_scale_resize = dict(
    type="RandomChoiceResize",
    scales=[(1333, 640), (1333, 672), (1333, 704), (1333, 736), (1333, 768), (1333, 800)],
    keep_ratio=True,
    resize_type="mmdet.Resize",
)
train_pipeline = [_base_.load, _base_.load_instances, multi_scale_resize, _base_.flip, _base_.pack]
train_dataloader = dict(sampler=dict(type="InfiniteSampler"), dataset=dict(pipeline=train_pipeline))

max_iters = 270_000
train_cfg = dict(_delete_=True, type="IterBasedTrainLoop", max_iters=max_iters, val_interval=10_000)
decay = dict(_base_.decay, by_epoch=False, end=max_iters, milestones=[180_000, 240_000])
param_scheduler = [_base_.warmup, decay]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=10_000))
log_processor = dict(by_epoch=False)
