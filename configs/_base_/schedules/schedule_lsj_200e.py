# mmdetection's for large-scale jitter: 200 epochs of 8 GPUs x 8 images. There they are 25 passes over a data set that
# is repeated 8 times; here every pass is an epoch, and has draws of its own.
_base_ = "schedule_1x.py"

max_epochs = 200
train_cfg = dict(max_epochs=max_epochs, val_interval=40)
param_scheduler = [
    dict(_base_.param_scheduler[0], start_factor=0.067, end=1000),
    dict(_base_.param_scheduler[1], end=max_epochs, milestones=[176, 192]),
]
optim_wrapper = dict(optimizer=dict(lr=0.04, weight_decay=0.00004))
auto_scale_lr = dict(base_batch_size=64)
