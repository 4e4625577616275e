"""What a part of a config refuses, told as a mistake in the config: which part, with which values, and why."""

from __future__ import annotations

import contextlib
import reprlib
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from solo.errors import ConfigError

# What constructors raise about their arguments. A RuntimeError is more often the machine's fault than the config's.
_REFUSALS = (TypeError, ValueError, AssertionError, AttributeError, LookupError)
# The functions of mmengine that build parts -> their variable that holds the config.
_BUILDERS = {"build_from_cfg": "cfg", "build_dataloader": "dataloader"}


@contextlib.contextmanager
def refused_parts_as_config_errors() -> Iterator[None]:
    """Turn what the constructor of a config's part raises into a `ConfigError` that names part, values and reason.

    Whatever is raised elsewhere passes unchanged.

    Raises:
        ConfigError: mmengine was building a part, whose class refused its arguments.
    """
    try:
        yield
    except _REFUSALS as error:
        part = _part_being_built(error.__traceback__)
        if part is None:
            raise
        raise ConfigError(_refusal(part, error)) from error


def _refusal(part: Mapping[str, Any], error: BaseException) -> str:
    """Say in one line that a part of a config cannot be built, with its plain values and the place of the refusal."""
    plain = {
        key: value for key, value in part.items() if key != "type" and isinstance(value, (str, int, float, list, tuple))
    }
    values = ", ".join(f"{key}={reprlib.repr(value)}" for key, value in plain.items())
    place = traceback.extract_tb(error.__traceback__)[-1]
    reason = " ".join(str(error).split()) or "no reason given"
    return (
        f"config part {part.get('type', 'dataloader')}({values}) cannot be built: {type(error).__name__}: {reason} "
        f"({Path(place.filename).name}, line {place.lineno})"
    )


def _part_being_built(trace: TracebackType | None) -> Mapping[str, Any] | None:
    """The config of the innermost object that was being built."""
    part = None
    for frame, _ in traceback.walk_tb(trace):
        candidate = frame.f_locals.get(_BUILDERS.get(frame.f_code.co_name, ""))
        part = candidate if isinstance(candidate, Mapping) else part
    return part
