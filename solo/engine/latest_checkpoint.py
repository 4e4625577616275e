"""Which checkpoint of a work folder a training goes on from."""

from __future__ import annotations

import os
import re
from pathlib import Path

POINTER = "last_checkpoint"
_NUMBERED = re.compile(r"(?:epoch|iter)_(\d+)\.pth")


def latest_checkpoint(work_dir: str | os.PathLike[str]) -> Path | None:
    """The checkpoint that `last_checkpoint` names; the newest one where that file is missing, torn or out of date.

    Args:
        work_dir: folder of a training, which need not exist.

    Returns:
        An existing file, or None where there is no checkpoint.
    """
    folder = Path(work_dir)
    pointer = folder / POINTER
    if pointer.is_file():
        named = Path(pointer.read_text().strip() or POINTER)
        # The folder may have been moved since.
        for path in (named, folder / named.name):
            if path.is_file() and path.name != POINTER:
                return path
    numbered = [(int(match[1]), path) for path in folder.glob("*.pth") if (match := _NUMBERED.fullmatch(path.name))]
    return max(numbered)[1] if numbered else None
