# PaddleDetection 0.5's 3x: 270,000 iterations with batches of 16.
# Children use an InfiniteSampler and set `by_epoch=False` for checkpoints and the log.
_base_ = "schedule_paddle.py"

max_iters = 270_000
train_cfg = dict(_delete_=True, type="IterBasedTrainLoop", max_iters=max_iters, val_interval=10_000)
decay = dict(_base_.decay, by_epoch=False, end=max_iters, milestones=[180_000, 240_000])
param_scheduler = [_base_.warmup, decay]
