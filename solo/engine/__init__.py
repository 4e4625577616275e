"""Training and testing: hooks and an optimizer wrapper that mmengine lacks, and the functions behind the commands."""

from __future__ import annotations

from solo.engine import hooks, parameter_groups
from solo.engine.loops import ResumableEpochLoop
from solo.engine.optim_wrapper import BFloat16OptimWrapper

__all__ = ["BFloat16OptimWrapper", "ResumableEpochLoop", "hooks", "parameter_groups"]
