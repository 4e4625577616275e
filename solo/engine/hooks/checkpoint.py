"""Writing checkpoints so that a whole one is always on disk, and finding the latest one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from solo.registry import HOOKS

POINTER = "last_checkpoint"
MAX_POINTER_BYTES = 4096
_NUMBERED = re.compile(r"(?:epoch|iter)_(\d+)\.pth")


@HOOKS.register_module(name="CheckpointHook")
class SafeCheckpointHook(CheckpointHook):
    """mmengine's hook, but an old checkpoint is removed only after the new one has been written.

    mmengine removes the oldest and the previous best checkpoint first: with `max_keep_ckpts=1`, a full disk or a kill
    in between would leave none. Here one more than `max_keep_ckpts` exists for a moment.
    """

    file_backend: Any

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict[str, Any]) -> None:
        with self._postponed_removals():
            super()._save_checkpoint_with_step(runner, step, meta)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict[str, Any]) -> None:
        with self._postponed_removals():
            super()._save_best_checkpoint(runner, metrics)

    @contextmanager
    def _postponed_removals(self) -> Iterator[None]:
        backend = self.file_backend
        postponing = self.file_backend = _PostponedRemovals(backend)
        try:
            yield
        finally:
            self.file_backend = backend
        best = [getattr(self, "best_ckpt_path", None), *getattr(self, "best_ckpt_path_dict", {}).values()]
        for remove, path in postponing.removals:
            if path not in (self.last_ckpt, *best):
                remove(path)


class _PostponedRemovals:
    """A file backend that records what it is asked to remove."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.removals: list[tuple[Any, str]] = []

    def remove(self, path: str) -> None:
        self.removals.append((self._backend.remove, path))

    def rmtree(self, path: str) -> None:
        self.removals.append((self._backend.rmtree, path))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


def latest_checkpoint(work_dir: str | os.PathLike[str]) -> Path | None:
    """Find the checkpoint that `last_checkpoint` names, or the one with the highest number where that is no use.

    Args:
        work_dir: folder of a training, which need not exist.

    Returns:
        An existing file, or None where there is no checkpoint.
    """
    folder = Path(work_dir)
    pointer = folder / POINTER
    if pointer.is_file():
        # A file of this folder only, wherever the folder was when it was written.
        name = Path(pointer.read_bytes()[:MAX_POINTER_BYTES].decode("utf-8", "replace").strip()).name
        if name != POINTER and name in os.listdir(folder) and (folder / name).is_file():
            return folder / name
    numbered = [(int(match[1]), path) for path in folder.glob("*.pth") if (match := _NUMBERED.fullmatch(path.name))]
    return max(numbered)[1] if numbered else None
