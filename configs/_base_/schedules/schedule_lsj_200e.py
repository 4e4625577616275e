# mmdetection's schedule for large-scale jitter: 200 epochs with batches of 64 (8 GPUs x 8 images). mmdetection counts
# 25 epochs over a data set repeated 8 times; here every pass over the data is an epoch with its own random numbers.
_base_ = "schedule_1x.py"

max_epochs = 200
train_cfg = dict(max_epochs=max_epochs, val_interval=40)
warmup = dict(_base_.warmup, start_factor=0.067, end=1000)
decay = dict(_base_.decay, end=max_epochs, milestones=[176, 192])
param_scheduler = [warmup, decay]
optim_wrapper = dict(optimizer=dict(lr=0.04, weight_decay=0.00004))
auto_scale_lr = dict(base_batch_size=64)
