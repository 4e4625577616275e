"""A training that is asked to stop finishes its step, saves, and ends."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import distributed

from solo.engine.latest_checkpoint import POINTER
from solo.registry import HOOKS

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@HOOKS.register_module()
class StopSignalsHook(Hook):
    """On SIGTERM (a scheduler's warning) or Ctrl-C, save `iter_N.pth` after the step and end; `--resume` goes on there.

    After SIGTERM the command ends with exit code 0, after Ctrl-C with 130. A second Ctrl-C ends it at once.

    Args:
        interval: with several processes, steps between two looks at whether one of them was asked to stop.
    """

    # After the schedules have moved on, and after the checkpoints that are due anyway.
    priority = "LOWEST"

    def __init__(self, *, interval: int = 10) -> None:
        self.interval = interval
        self._received: int | None = None
        self._before: dict[int, Any] = {}

    def before_train(self, runner: Runner) -> None:
        """Listen from here on; Python lets the main thread alone do so."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in SIGNALS}

    def after_train(self, runner: Runner) -> None:
        """Listen no more."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Save and end when one of the processes was asked to stop."""
        self._stop_if_asked(runner, step=runner.iter + 1, iterations_done=runner.iter + 1)

    def after_val_iter(self, runner: Runner, batch_idx: int, *args: Any, **kwargs: Any) -> None:
        """The same during a validation, which is not taken up again."""
        if self._before:
            self._stop_if_asked(runner, step=batch_idx + 1, iterations_done=runner.iter)

    def stop_between_steps(self, runner: Runner) -> None:
        """The same when there is no next batch, since a loader that is not ours lost its workers to the request.

        Several processes cannot agree here: those go on from their last checkpoint.
        """
        if get_world_size() == 1:
            self._stop_if_asked(runner, step=runner.iter, iterations_done=runner.iter)

    def _stop_if_asked(self, runner: Runner, *, step: int, iterations_done: int) -> None:
        number = self._agreed(step)
        if not number:
            return
        name = f"iter_{iterations_done}.pth"
        runner.logger.info(f"Asked to stop ({signal.Signals(number).name}): saving {name}, --resume goes on there")
        meta = dict(epoch=runner.epoch, iter=iterations_done)
        runner.save_checkpoint(runner.work_dir, name, meta=meta, by_epoch=False)
        if is_main_process():
            Path(runner.work_dir, POINTER).write_text(str(Path(runner.work_dir, name)))
        self.after_train(runner)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(0)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._received == signal.SIGINT:
            raise KeyboardInterrupt
        self._received = number
        # Workers of a loader that is not ours die of it; torch would raise an error in the middle of the step.
        signal.signal(signal.SIGCHLD, lambda number, frame: None)

    def _agreed(self, step: int) -> int:
        """The signal to follow, 0 for none: all processes have to stop after the same step."""
        if get_world_size() == 1:
            return self._received or 0
        if step % self.interval:
            return 0
        device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
        number = torch.tensor(self._received or 0, device=device)
        distributed.all_reduce(number, op=distributed.ReduceOp.MAX)
        return int(number)
