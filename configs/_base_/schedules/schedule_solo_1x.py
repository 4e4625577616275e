# SOLO's 1x: schedule_1x.py with a warm-up from a third of the learning rate.
_base_ = "schedule_1x.py"

warmup = dict(_base_.warmup, start_factor=1 / 3)
param_scheduler = [warmup, _base_.decay]
