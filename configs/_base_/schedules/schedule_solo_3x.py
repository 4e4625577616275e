# SOLO's 3x: warm-up from a third of the rate.
_base_ = "schedule_3x.py"

param_scheduler = [dict(_base_.param_scheduler[0], start_factor=1 / 3), _base_.param_scheduler[1]]
