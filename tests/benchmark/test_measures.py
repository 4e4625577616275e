from __future__ import annotations

import pytest

from solo.benchmark.measures import Measures, measured
from solo.benchmark.pairs import count_row
from solo.errors import ConfigError


def measures(done: list[str]) -> Measures:
    def measure(*names: str) -> list:
        done.append(names[0])
        return [count_row(name, "x", 1) for name in names]

    return {
        ("ops", "ops_with_views"): lambda: measure("ops", "ops_with_views"),
        ("step",): lambda: measure("step_config", "step_config/load"),
        ("loop", "rate_loop"): lambda: measure("loop", "loop/load", "rate_loop"),
    }


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (None, ["ops", "ops_with_views", "step_config", "step_config/load", "loop", "loop/load", "rate_loop"]),
        (["ops"], ["ops"]),
        (["ops_with_views"], ["ops_with_views"]),
        (["loop", "step"], ["step_config", "step_config/load", "loop", "loop/load"]),
        (["rate_loop"], ["rate_loop"]),
    ],
)
def test_rows_by_name(names: list[str] | None, expected: list[str]) -> None:
    done: list[str] = []
    assert [row.name for row in measured(measures(done), names)] == expected
    assert len(done) == len({name.split("_")[0].split("/")[0].replace("rate", "loop") for name in expected})


def test_an_unknown_name_ends_it_before_anything_is_measured() -> None:
    done: list[str] = []
    with pytest.raises(ConfigError, match=r"--rows lop: unknown \(did you mean 'loop'\?\); there are ops, ops_with"):
        measured(measures(done), ["step", "lop"])
    assert not done
