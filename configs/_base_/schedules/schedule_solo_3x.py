# SOLO's 3x: schedule_3x.py with a warm-up from a third of the learning rate.
_base_ = "schedule_1x.py"

max_epochs = 36
train_cfg = dict(max_epochs=max_epochs)
warmup = dict(_base_.warmup, start_factor=1 / 3)
decay = dict(_base_.decay, end=max_epochs, milestones=[27, 33])
param_scheduler = [warmup, decay]
