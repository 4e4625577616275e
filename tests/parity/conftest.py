"""A table of the largest deviations from recorded numbers: `pytest -v tests/parity/test_golden.py` prints it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.helpers.golden import Golden

DEVIATIONS = pytest.StashKey[dict[str, dict[str, float]]]()

Deviation = Callable[[str, float, float], None]


@pytest.fixture
def within(request: pytest.FixtureRequest, golden: Golden) -> Deviation:
    """`within(what, deviation, allowed)`: assert it, and keep the largest of the fixture for the table."""
    table = request.config.stash.setdefault(DEVIATIONS, {})

    def check(what: str, deviation: float, allowed: float) -> None:
        row = table.setdefault(golden.meta["fixture"], {})
        row[what] = max(row.get(what, 0.0), float(deviation))
        assert deviation <= allowed, f"{what}: {deviation} > {allowed}"

    return check


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table when asked to be verbose."""
    table = config.stash.get(DEVIATIONS, {})
    if not table or config.get_verbosity() <= 0:
        return
    terminalreporter.section("largest deviations from the recorded numbers")
    columns = list(dict.fromkeys(name for row in table.values() for name in row))
    terminalreporter.line(" | ".join(["fixture", *columns]))
    for fixture, row in table.items():
        terminalreporter.line(" | ".join([fixture, *(f"{row.get(name, float('nan')):.2g}" for name in columns)]))
