# PaddleDetection 0.5's solov2_r50_fpn_1x, 35.6 mask AP there: PaddleDetection 2's model, trained for 90,000 iterations.
_base_ = "solov2_r50_fpn_1x_coco.py"

train_dataloader = dict(sampler=dict(type="InfiniteSampler"))

max_iters = 90_000
train_cfg = dict(_delete_=True, type="IterBasedTrainLoop", max_iters=max_iters, val_interval=10_000)
decay = dict(_base_.decay, by_epoch=False, end=max_iters, milestones=[60_000, 80_000])
param_scheduler = [_base_.warmup, decay]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=10_000))
log_processor = dict(by_epoch=False)
