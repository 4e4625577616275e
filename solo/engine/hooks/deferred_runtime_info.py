"""Losses are logged without making the host wait for the device at every step."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.hooks import LoggerHook, RuntimeInfoHook
from mmengine.runner import Runner
from torch import Tensor

from solo.registry import HOOKS


@HOOKS.register_module()
class DeferredRuntimeInfoHook(RuntimeInfoHook):
    """mmengine's `RuntimeInfoHook`, but the losses and the gradient norm of every step stay on the device.

    They are read together, in one copy, when a line is logged, an epoch ends or a checkpoint is saved. What is logged
    is the same. Goes where that hook goes: `default_hooks = dict(runtime_info=dict(type="DeferredRuntimeInfoHook"))`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pending: list[tuple[str, Tensor]] = []
        self._clip_function: Any = None

    def before_train(self, runner: Runner) -> None:
        """Have the gradient norm handed over as a tensor."""
        super().before_train(runner)
        wrapper = runner.optim_wrapper
        if not getattr(wrapper, "clip_grad_kwargs", None):
            return
        clip = self._clip_function = wrapper.clip_func

        def clip_and_defer(*args: Any, **kwargs: Any) -> None:
            norm = clip(*args, **kwargs)
            if norm is not None:
                self._pending.append((f"train/{wrapper.grad_name}", norm.detach()))

        wrapper.clip_func = clip_and_defer

    def after_train(self, runner: Runner) -> None:
        """Leave the optimizer's wrapper as it was."""
        super().after_train(runner)
        if self._clip_function is not None:
            runner.optim_wrapper.clip_func = self._clip_function
            self._clip_function = None

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Keep the step's losses; hand all kept ones on if the logger's hook is about to read them."""
        for name, value in (outputs or {}).items():
            if isinstance(value, Tensor):
                self._pending.append((f"train/{name}", value.detach()))
            else:
                runner.message_hub.update_scalar(f"train/{name}", value)
        intervals = [hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)]
        is_logged = any(self.every_n_inner_iters(batch_idx, interval) for interval in intervals)
        if is_logged or self.end_of_epoch(runner.train_dataloader, batch_idx):
            self._hand_on(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """The history in a checkpoint is complete."""
        self._hand_on(runner)
        if "message_hub" in checkpoint:
            checkpoint["message_hub"] = runner.message_hub.state_dict()

    def _hand_on(self, runner: Runner) -> None:
        if not self._pending:
            return
        names, values = zip(*self._pending, strict=True)
        self._pending = []
        for name, value in zip(names, torch.stack([value.double() for value in values]).tolist(), strict=True):
            runner.message_hub.update_scalar(name, value)
