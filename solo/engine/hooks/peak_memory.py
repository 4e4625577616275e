"""Memory on the progress line of a machine without a GPU."""

from __future__ import annotations

import sys

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from solo.registry import HOOKS


def peak_memory_mb() -> float:
    """Peak resident memory of this process in MiB; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


@HOOKS.register_module()
class HostMemoryHook(Hook):
    """Record the peak resident memory (MiB) as `train/memory_mb`; on a GPU mmengine itself shows the GPU's."""

    priority = "NORMAL"

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: object = None, outputs: object = None
    ) -> None:
        """Record before the logger's hook prints the line."""
        if not torch.cuda.is_available():
            runner.message_hub.update_scalar("train/memory_mb", round(peak_memory_mb()))
