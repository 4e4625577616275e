# 3x: 36 epochs with batches of 16 (8 GPUs x 2 images).
_base_ = "schedule_1x.py"

max_epochs = 36
train_cfg = dict(max_epochs=max_epochs)
decay = dict(_base_.decay, end=max_epochs, milestones=[27, 33])
param_scheduler = [_base_.warmup, decay]
