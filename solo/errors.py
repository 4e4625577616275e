"""Errors a user can cause: tools print `error: ...` and exit with code 2. A traceback means a defect of ours."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from pathlib import Path


class UserError(Exception):
    """The input is wrong; the message names the file, id or key, what was expected and what came."""


class ConfigError(UserError):
    """A config file or an override cannot be used."""


class CheckpointError(UserError):
    """A checkpoint is missing, damaged, unsafe, or belongs to another model."""


class DataError(UserError):
    """An image or an annotation cannot be used."""


def suggestion(name: str, candidates: Iterable[str]) -> str:
    """` (did you mean 'x'?)` with the nearest of the candidates, or nothing when none is near."""
    near = difflib.get_close_matches(
        name, [candidate for candidate in candidates if candidate != name], n=1, cutoff=0.7
    )
    return f" (did you mean {near[0]!r}?)" if near else ""


def missing_file_message(path: str | os.PathLike[str], *, kind: str) -> str:
    """Say that a file is missing, and what stands in its folder under a near name."""
    path = Path(path)
    if path.is_dir():
        return f"{kind} {path} is a folder; expected a file"
    folder = path.parent
    if not folder.is_dir():
        return f"{kind} {path} does not exist: there is no folder {folder}"
    return f"{kind} {path} does not exist{suggestion(path.name, sorted(os.listdir(folder)))}"
