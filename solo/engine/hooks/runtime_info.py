"""Hooks for the progress line: losses without synchronising with the device, and peak memory on the CPU."""

from __future__ import annotations

import sys
from typing import Any

import torch
from mmengine.hooks import Hook, LoggerHook, RuntimeInfoHook
from mmengine.runner import Runner
from torch import Tensor

from solo.registry import HOOKS


@HOOKS.register_module()
class DeferredRuntimeInfoHook(RuntimeInfoHook):
    """mmengine's `RuntimeInfoHook`, but losses and gradient norm stay on the device until a line is logged.

    mmengine calls `.item()` on each of them in every step, which makes the CPU wait for the GPU. Here all values since
    the last line are read in one copy: before a line is logged, at the end of an epoch, and before a checkpoint is
    saved. What is logged and saved is the same.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pending: list[tuple[str, Tensor]] = []

    def before_train(self, runner: Runner) -> None:
        """Keep the gradient norm as a tensor: mmengine would convert the result of `clip_func` to a float."""
        super().before_train(runner)
        wrapper = runner.optim_wrapper
        if not getattr(wrapper, "clip_grad_kwargs", None):
            return
        clip = wrapper.clip_func

        def clip_and_defer(*args: Any, **kwargs: Any) -> None:
            norm = clip(*args, **kwargs)
            if norm is not None:
                self._pending.append((f"train/{wrapper.grad_name}", norm.detach()))

        wrapper.clip_func = clip_and_defer

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Keep the losses; read all of them in steps whose losses are logged."""
        for name, value in (outputs or {}).items():
            if isinstance(value, Tensor):
                self._pending.append((f"train/{name}", value.detach()))
            else:
                runner.message_hub.update_scalar(f"train/{name}", value)
        intervals = [hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)]
        is_logged = any(self.every_n_inner_iters(batch_idx, interval) for interval in intervals)
        if is_logged or self.end_of_epoch(runner.train_dataloader, batch_idx):
            self._flush(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Complete the history that the checkpoint holds."""
        self._flush(runner)
        if "message_hub" in checkpoint:
            checkpoint["message_hub"] = runner.message_hub.state_dict()

    def _flush(self, runner: Runner) -> None:
        if not self._pending:
            return
        names, values = zip(*self._pending, strict=True)
        self._pending = []
        for name, value in zip(names, torch.stack([value.double() for value in values]).tolist(), strict=True):
            runner.message_hub.update_scalar(name, value)


@HOOKS.register_module()
class PeakMemoryHook(Hook):
    """Log the peak resident memory of the process (MiB) as `train/memory_mb` where there is no GPU.

    On a GPU mmengine itself logs the GPU's memory.
    """

    priority = "NORMAL"  # before LoggerHook

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: object = None, outputs: object = None
    ) -> None:
        """Record the memory."""
        if not torch.cuda.is_available():
            runner.message_hub.update_scalar("train/memory_mb", round(peak_memory_mb()))


def peak_memory_mb() -> float:
    """Peak resident memory of this process in MiB; 0 on Windows, which has no `resource` module."""
    try:
        import resource
    except ImportError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
