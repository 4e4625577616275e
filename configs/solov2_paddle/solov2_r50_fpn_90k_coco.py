# PaddleDetection 0.5's solov2_r50_fpn_1x: the model of 2.x, its training counted in iterations.
_base_ = "solov2_r50_fpn_1x_coco.py"

train_dataloader = dict(sampler=dict(type="InfiniteSampler"))

max_iters = 90_000
train_cfg = dict(_delete_=True, type="IterBasedTrainLoop", max_iters=max_iters, val_interval=10_000)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], by_epoch=False, end=max_iters, milestones=[60_000, 80_000]),
]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=10_000))
log_processor = dict(by_epoch=False)
