"""Checkpoints are removed once those that take their place are on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from solo.registry import HOOKS


@HOOKS.register_module(name="CheckpointHook")
class KeepingCheckpointHook(CheckpointHook):
    """mmengine's hook, which removes the oldest checkpoint, and the best one so far, before it writes the next.

    A disk that is full, or a kill in between, would leave nothing with `max_keep_ckpts=1`. This one removes them
    afterwards: for a moment there is one more than `max_keep_ckpts`.
    """

    file_backend: Any

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict[str, Any]) -> None:
        with self._removed_afterwards():
            super()._save_checkpoint_with_step(runner, step, meta)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict[str, Any]) -> None:
        with self._removed_afterwards():
            super()._save_best_checkpoint(runner, metrics)

    @contextmanager
    def _removed_afterwards(self) -> Iterator[None]:
        backend = self.file_backend
        waiting = self.file_backend = _WaitingRemovals(backend)
        try:
            yield
        finally:
            self.file_backend = backend
        best = [getattr(self, "best_ckpt_path", None), *getattr(self, "best_ckpt_path_dict", {}).values()]
        for remove, path in waiting.asked:
            if path not in (self.last_ckpt, *best):
                remove(path)


class _WaitingRemovals:
    """A file backend that only notes what it is asked to remove."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.asked: list[tuple[Any, str]] = []

    def remove(self, path: str) -> None:
        self.asked.append((self._backend.remove, path))

    def rmtree(self, path: str) -> None:
        self.asked.append((self._backend.rmtree, path))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)
