"""Training and testing: hooks that mmengine lacks, and the functions behind the commands."""

from __future__ import annotations

from solo.engine import hooks, parameter_groups

__all__ = ["hooks", "parameter_groups"]
