"""Write checkpoints whole or not at all, with nothing in them that `torch.load(weights_only=True)` refuses."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from solo.errors import CheckpointError

UNFINISHED = ".unfinished"
_MEGABYTE = 1e6


def save_atomically(content: Any, path: str | os.PathLike[str]) -> None:
    """Write a checkpoint under a temporary name, flush it to the disk, then rename it.

    When the process is killed or the disk is full, an earlier file of this name stays as it is.

    Args:
        content: what to save; numpy values and histories of mmengine are stored as plain values and tensors.
        path: where; missing folders are created.

    Raises:
        CheckpointError: the file cannot be written; the message names the reason and the free space.
    """
    path = Path(path).expanduser()
    unfinished = path.with_name(f"{path.name}.{secrets.token_hex(4)}{UNFINISHED}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            torch.save(without_numpy(content), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except (OSError, RuntimeError) as error:  # torch's writer turns a full disk into a RuntimeError
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise CheckpointError(_describe_failure(path, error)) from error


def without_numpy(content: Any) -> Any:
    """Replace numpy arrays by tensors, numpy scalars by Python numbers, and histories by dicts of tensors.

    `solo.checkpoints.reading` turns such dicts in `message_hub.log_scalars` into histories again.
    """
    if isinstance(content, HistoryBuffer):
        values, counts = (torch.from_numpy(np.array(array)) for array in content.data)
        return {"values": values, "counts": counts, "max_length": int(content.max_length)}
    if isinstance(content, np.ndarray) and content.dtype.kind in "fiub":
        return torch.from_numpy(content.copy())
    if isinstance(content, np.generic):
        return content.item()
    if isinstance(content, list):
        return [without_numpy(value) for value in content]
    if isinstance(content, tuple):
        return tuple(without_numpy(value) for value in content)
    if isinstance(content, dict):
        plain = {without_numpy(key): without_numpy(value) for key, value in content.items()}
        # A state dict carries the versions of its modules as an attribute: it stays the same object.
        is_unchanged = all(plain[key] is value for key, value in content.items())
        return content if is_unchanged and type(content) in (OrderedDict, Counter) else plain
    return content


def remove_unfinished(folder: str | os.PathLike[str]) -> list[Path]:
    """Remove the temporary files that killed processes have left in a folder, and return their paths."""
    found = sorted(Path(folder).glob(f"*{UNFINISHED}"))
    for path in found:
        path.unlink(missing_ok=True)
    return found


def _describe_failure(path: Path, error: BaseException) -> str:
    cause = next((e for e in (error, error.__cause__, error.__context__) if isinstance(e, OSError)), error)
    reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause).splitlines()[0]
    folder = next((parent for parent in path.parents if parent.is_dir()), Path("/"))
    free = shutil.disk_usage(folder).free / _MEGABYTE
    return (
        f"checkpoint {path} cannot be written: {reason} ({free:,.0f} MB are free in {folder}). "
        "Earlier ones are unchanged"
    )
