"""Training and testing: the functions behind the commands, hooks, loops and optimizer wrappers."""

from __future__ import annotations

from solo.engine import hooks
from solo.engine.loops import ResumableEpochLoop
from solo.engine.optimizer import BFloat16OptimWrapper, LayerwiseOptimWrapperConstructor
from solo.engine.trackers import TrackioVisBackend

__all__ = [
    "BFloat16OptimWrapper",
    "LayerwiseOptimWrapperConstructor",
    "ResumableEpochLoop",
    "TrackioVisBackend",
    "hooks",
]
