# PaddleDetection 0.5's 3x, in iterations. A config on it takes an InfiniteSampler and tells the
# checkpoints and the log to count iterations.
_base_ = "schedule_paddle.py"

max_iters = 270_000
train_cfg = dict(_delete_=True, type="IterBasedTrainLoop", max_iters=max_iters, val_interval=10_000)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], by_epoch=False, end=max_iters, milestones=[180_000, 240_000]),
]
