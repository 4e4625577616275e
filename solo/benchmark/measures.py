"""Which rows are measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from solo.benchmark.pairs import Row
from solo.errors import ConfigError, suggestion

Measures: TypeAlias = Mapping[tuple[str, ...], Callable[[], list[Row]]]
"""What measures rows, by the names of those rows. One that bears a config's name goes by what stands before it."""


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
