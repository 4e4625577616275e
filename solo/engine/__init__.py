"""Training and testing: hooks that mmengine lacks, and the functions behind the commands."""

from __future__ import annotations

from solo.engine import hooks
from solo.engine.loops import ResumableEpochLoop

__all__ = ["ResumableEpochLoop", "hooks"]
