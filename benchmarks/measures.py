"""Which rows are measured."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from benchmarks.pairs import Row
from solo.errors import ConfigError, suggestion

Measures: TypeAlias = Mapping[tuple[str, ...], Callable[[], list[Row]]]
"""What measures rows, by the names of those rows. One that bears a config's name goes by what stands before it."""


def check_options(*, against: str | None, pairs: int, warmup: int, **counts: int | None) -> None:
    """Look at what every benchmark takes.

    Args:
        against: the peer, None for none.
        pairs: turns.
        warmup: turns before those.
        **counts: numbers that have to be positive, by the name of their option; None is left out.

    Raises:
        ConfigError: a number is too small, or the peer is not installed.
    """
    positive = {"iters": pairs, **counts}
    for name, least, value in [("warmup", 0, warmup), *((name, 1, value) for name, value in positive.items())]:
        if value is not None and value < least:
            raise ConfigError(f"--{name.replace('_', '-')} must be at least {least}, got {value}")
    if against is not None and importlib.util.find_spec(against) is None:
        raise ConfigError(f"--against {against}: the package is not installed")


def measured(measures: Measures, names: Sequence[str] | None) -> list[Row]:
    """The rows of these names, None for all.

    Raises:
        ConfigError: a name is unknown.
    """
    known = [name for group in measures for name in group]
    for name in names or ():
        if name not in known:
            raise ConfigError(f"--rows {name}: unknown{suggestion(name, known)}; there are {', '.join(known)}")
    rows: list[Row] = []
    for group, measure in measures.items():
        wanted = [name for name in group if names is None or name in names]
        if wanted:
            rows += [row for row in measure() if len(group) == 1 or _is_of(row, wanted, group)]
    return rows


def _is_of(row: Row, wanted: Sequence[str], group: Sequence[str]) -> bool:
    """Whether the longest of the group's names that the row's begins with is wanted."""
    return max((name for name in group if row.name.startswith(name)), key=len) in wanted
