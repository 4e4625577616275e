"""Stop a training, or skip the step, when a loss is NaN or infinite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, distributed

from solo.errors import ConfigError, DataError
from solo.registry import HOOKS


@HOOKS.register_module()
class NonFiniteLossHook(Hook):
    """Check that the losses are finite.

    "stop" checks the losses of several steps together, so that no step synchronises with the device, and always before
    a checkpoint is saved. It raises an error that names the losses and images of the first non-finite step. "skip"
    checks before each update, which synchronises with the device, and skips updates with non-finite losses.

    Args:
        action: "stop" or "skip".
        interval: steps between two checks of "stop".
        max_skipped: "skip" raises the error after more than this many skipped steps in a row.

    Raises:
        ConfigError: the action is unknown.
    """

    priority = "VERY_HIGH"

    def __init__(self, *, action: Literal["stop", "skip"] = "stop", interval: int = 50, max_skipped: int = 20) -> None:
        if action not in ("stop", "skip"):
            raise ConfigError(f"NonFiniteLossHook.action must be 'stop' or 'skip', not {action!r}")
        self.action = action
        self.interval = interval
        self.max_skipped = max_skipped
        self.skipped = 0
        self._in_a_row = 0
        self._pending: list[tuple[int, list[str], dict[str, Tensor]]] = []
        self._images: list[str] = []

    def before_train(self, runner: Runner) -> None:
        """For "skip", check the loss before each update."""
        if self.action == "skip":
            update = runner.optim_wrapper.update_params

            def update_if_finite(loss: Tensor, *args: Any, **kwargs: Any) -> None:
                if self._is_finite_everywhere(loss, runner):
                    update(loss, *args, **kwargs)

            runner.optim_wrapper.update_params = update_if_finite

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Remember the images of the step."""
        samples = data_batch.get("data_samples") or [] if isinstance(data_batch, Mapping) else []
        self._images = [str(sample.get("img_path") or sample.get("img_id")) for sample in samples]

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Mapping[str, Any] | None = None
    ) -> None:
        """For "stop", keep the losses of the step and check all kept ones every `interval` steps."""
        losses = {name: value.detach().sum() for name, value in (outputs or {}).items() if isinstance(value, Tensor)}
        if self.action == "stop" and losses:
            self._pending.append((runner.iter + 1, self._images, losses))
            if self.every_n_train_iters(runner, self.interval):
                self._check()

    def after_train_epoch(self, runner: Runner, metrics: Any = None) -> None:
        """Check before the epoch's checkpoint; log how many steps were skipped."""
        self._check()
        if self.skipped:
            runner.logger.warning(f"{self.skipped} steps were skipped so far: their loss was NaN or infinite")

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Check before weights are saved."""
        self._check()

    def _check(self) -> None:
        steps, self._pending = self._pending, []
        if steps:
            sums = torch.stack([torch.stack([*losses.values()]).double().sum() for _, _, losses in steps])
            for step, is_finite in zip(steps, sums.isfinite().tolist(), strict=True):
                if not is_finite:
                    _fail(*step)

    def _is_finite_everywhere(self, loss: Tensor, runner: Runner) -> bool:
        """Whether the loss is finite in every process: all of them update, or none does."""
        finite = loss.detach().isfinite().all().float()
        if get_world_size() > 1:
            distributed.all_reduce(finite, op=distributed.ReduceOp.MIN)
        if finite:
            self._in_a_row = 0
            return True
        self.skipped += 1
        self._in_a_row += 1
        runner.logger.warning(f"Skipped iteration {runner.iter + 1}: its loss is not finite, images {self._images}")
        if self._in_a_row > self.max_skipped:
            _fail(runner.iter + 1, self._images, {"loss": loss.detach().sum()})
        return False


def _fail(iteration: int, images: list[str], losses: Mapping[str, Tensor]) -> None:
    values = ", ".join(f"{name} {float(value)}" for name, value in losses.items())
    raise DataError(
        f"the loss is not finite at iteration {iteration} ({values}), images {', '.join(images)}. Earlier checkpoints "
        "can be resumed; a lower learning rate, optim_wrapper.clip_grad or NonFiniteLossHook(action='skip') may help"
    )
