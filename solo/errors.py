"""User errors: commands print `error: ...` on one line and exit with code 2. A traceback is a bug."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

Options = TypeVar("Options")


class UserError(Exception):
    """The input is wrong; the message names the file, id or key, what was expected and what was given."""


class ConfigError(UserError):
    """A config file or an override cannot be used."""


class CheckpointError(UserError):
    """A checkpoint is missing, damaged, unsafe, or belongs to another model."""


class DataError(UserError):
    """An image or an annotation cannot be used."""


class OutputError(UserError):
    """A result cannot be written, or would overwrite another file."""


class ExportedModelError(UserError):
    """An exported model is damaged, foreign, or does not take the input."""


class ExportError(UserError):
    """A model cannot be exported as asked for."""


def suggestion(name: str, candidates: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` with the closest candidate, or an empty string when none is close."""
    close = difflib.get_close_matches(
        name, [candidate for candidate in candidates if candidate != name], n=1, cutoff=0.7
    )
    return f" (did you mean {close[0]!r}?)" if close else ""


def options_from_mapping(options: type[Options], values: Mapping[str, Any], *, kind: str) -> Options:
    """Make a dataclass of options from names and values, as the command line gives them.

    Args:
        options: the dataclass.
        values: of its fields; the others keep their defaults.
        kind: what an option is called in the message.

    Raises:
        ConfigError: a name is unknown.
    """
    known = [field.name for field in fields(options)]  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            raise ConfigError(f"{kind} {name!r} is unknown{suggestion(name, known)}; there are {', '.join(known)}")
    return options(**values)


def printable(text: str) -> str:
    """Escape control characters and halves of surrogates, which a terminal would act on or could not show."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def missing_file_message(path: str | os.PathLike[str], *, kind: str) -> str:
    """Describe a missing file and suggest the closest file name in its folder."""
    path, shown = Path(path), printable(os.fspath(path))
    if path.is_dir():
        return f"{kind} {shown} is a folder; expected a file"
    if path.exists():
        return f"{kind} {shown} is not a regular file"
    if not path.parent.is_dir():
        return f"{kind} {shown} does not exist: there is no folder {printable(str(path.parent))}"
    return f"{kind} {shown} does not exist{printable(suggestion(path.name, sorted(os.listdir(path.parent))))}"
