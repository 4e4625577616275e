"""Stop a training, or skip the step, when a loss is NaN or infinite."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, distributed

from solo.errors import ConfigError, DataError
from solo.registry import HOOKS

MAX_NAMED = 8


class _Step(NamedTuple):
    """A step whose losses have not been checked yet."""

    iteration: int
    images: list[str]
    losses: dict[str, Tensor]


@HOOKS.register_module()
class NonFiniteLossHook(Hook):
    """Check that the losses are finite.

    "stop" checks the losses of several steps together, so that no step synchronises with the device, and always before
    a checkpoint is saved. It raises an error that names the images and losses of the first non-finite step, and writes
    them to `non_finite_loss_rankN.json` in the work folder; seed, epoch and image reproduce each sample. "skip" checks
    before each update, which synchronises with the device, and skips updates with non-finite losses.

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
        self._pending: list[_Step] = []
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
        if self.action == "stop":
            losses = {name: value.detach() for name, value in (outputs or {}).items() if isinstance(value, Tensor)}
            self._pending.append(_Step(runner.iter + 1, self._images, losses))
            if self.every_n_train_iters(runner, self.interval):
                self._check(runner)

    def after_train_epoch(self, runner: Runner, metrics: Any = None) -> None:
        """Check before the epoch's checkpoint; log how many steps were skipped."""
        self._check(runner)
        if self.skipped:
            runner.logger.warning(f"{self.skipped} steps were skipped so far: their loss was NaN or infinite")

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Check before weights are saved."""
        self._check(runner)

    def _check(self, runner: Runner) -> None:
        steps, self._pending = [step for step in self._pending if step.losses], []
        if not steps:
            return
        sums = torch.stack(
            [torch.stack([value.double().sum() for value in step.losses.values()]).sum() for step in steps]
        )
        for step, is_finite in zip(steps, sums.isfinite().tolist(), strict=True):
            if not is_finite:
                self._fail(runner, step.iteration, step.images, {n: float(v.sum()) for n, v in step.losses.items()})

    def _fail(self, runner: Runner, iteration: int, images: list[str], losses: dict[str, float]) -> None:
        facts = dict(
            iteration=iteration,
            epoch=runner.epoch,
            seed=runner.seed,
            images=images,
            losses={name: str(value) for name, value in losses.items()},
        )
        path = Path(runner.work_dir, f"non_finite_loss_rank{get_rank()}.json")
        path.write_text(json.dumps(facts, indent=1) + "\n")
        values = ", ".join(f"{name} {value}" for name, value in losses.items())
        raise DataError(
            f"the loss is not finite at iteration {iteration} ({values}), images {', '.join(images[:MAX_NAMED])}; "
            f"details are in {path}. Earlier checkpoints can be resumed; a lower learning rate, "
            "optim_wrapper.clip_grad or NonFiniteLossHook(action='skip') may help"
        )

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
        runner.logger.log(
            logging.WARNING, f"Skipped iteration {runner.iter + 1}: its loss is not finite, images {self._images}"
        )
        if self._in_a_row > self.max_skipped:
            self._fail(runner, runner.iter + 1, self._images, {"loss": float(loss.detach().sum())})
        return False
