"""Stop a training on SIGTERM or Ctrl-C: finish the step, save a checkpoint, exit."""

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

from solo.engine.hooks.checkpoint import POINTER
from solo.registry import HOOKS

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@HOOKS.register_module()
class StopSignalsHook(Hook):
    """On SIGTERM (a scheduler's warning) or Ctrl-C, save `iter_N.pth` after the step and exit; `--resume` continues.

    The exit code is 0 after SIGTERM and 130 after Ctrl-C. A second Ctrl-C exits at once.

    Args:
        interval: with several processes, steps between checks whether one of them received a signal.
    """

    # After the learning rate schedules and the regular checkpoints.
    priority = "LOWEST"

    def __init__(self, *, interval: int = 10) -> None:
        self.interval = interval
        self.is_interrupted = False
        self._received: int | None = None
        self._before: dict[int, Any] = {}

    def before_train(self, runner: Runner) -> None:
        """Install the signal handlers, which Python allows only in the main thread."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in SIGNALS}

    def after_train(self, runner: Runner) -> None:
        """Restore the previous signal handlers."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Save and exit when one of the processes received a signal."""
        self._stop_if_signalled(runner, step=runner.iter + 1, iterations_done=runner.iter + 1)

    def after_val_iter(self, runner: Runner, batch_idx: int, *args: Any, **kwargs: Any) -> None:
        """Do the same during a validation, which a resumed training repeats."""
        if self._before:
            self._stop_if_signalled(runner, step=batch_idx + 1, iterations_done=runner.iter)

    def _stop_if_signalled(self, runner: Runner, *, step: int, iterations_done: int) -> None:
        number = self._agreed_signal(step)
        if not number:
            return
        name = f"iter_{iterations_done}.pth"
        runner.logger.info(f"Received {signal.Signals(number).name}: saving {name}; --resume continues from it")
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
            self.is_interrupted = True
            raise KeyboardInterrupt
        self._received = number

    def _agreed_signal(self, step: int) -> int:
        """The signal that any process received, 0 for none: all processes must stop after the same step."""
        if get_world_size() == 1:
            return self._received or 0
        if step % self.interval:
            return 0
        device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
        number = torch.tensor(self._received or 0, device=device)
        distributed.all_reduce(number, op=distributed.ReduceOp.MAX)
        return int(number)
