"""Writing checkpoints so that a half-written one never bears its name."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from solo.errors import CheckpointError

UNFINISHED = ".unfinished"
_MEGABYTE = 1e6


def save_atomically(content: Any, path: str | os.PathLike[str]) -> None:
    """Write what `torch.save` takes under another name, have it reach the disk, then give it its name.

    A process that is killed while it writes, or a disk that is full, thus leaves the former file, if any, as it was.

    Args:
        content: What to save.
        path: Where; missing folders are made.

    Raises:
        CheckpointError: It cannot be written; the message says why and how much space is left.
    """
    path = Path(path).expanduser()
    unfinished = path.with_name(path.name + UNFINISHED)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except (OSError, RuntimeError) as error:  # torch's writer turns a full disk into a RuntimeError
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise CheckpointError(_why(path, error)) from error


def remove_unfinished(folder: str | os.PathLike[str]) -> list[Path]:
    """Remove what killed processes have left half-written in a folder; the paths of the files."""
    found = sorted(Path(folder).glob(f"*{UNFINISHED}"))
    for path in found:
        path.unlink(missing_ok=True)
    return found


def _why(path: Path, error: BaseException) -> str:
    cause = next((e for e in (error, error.__cause__, error.__context__) if isinstance(e, OSError)), error)
    reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause).splitlines()[0]
    folder = next((parent for parent in path.parents if parent.is_dir()), Path("/"))
    free = shutil.disk_usage(folder).free / _MEGABYTE
    return (
        f"checkpoint {path} cannot be written: {reason} ({free:,.0f} MB are free in {folder}). "
        "Checkpoints that were written before are as they were"
    )
