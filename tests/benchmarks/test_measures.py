from __future__ import annotations

import pytest

from benchmarks.measures import Measures, check_options, measured
from benchmarks.pairs import count_row
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


def test_options() -> None:
    good = dict(against=None, pairs=1, warmup=0)
    check_options(**good, images=None, batch_size=1)
    for wrong, message in (
        (dict(pairs=0), "--iters must be at least 1, got 0"),
        (dict(warmup=-1), "--warmup must be at least 0, got -1"),
        (dict(result_images=0), "--result-images must be at least 1, got 0"),
        (dict(against="no_such_package"), "--against no_such_package: the package is not installed"),
    ):
        with pytest.raises(ConfigError, match=message):
            check_options(**{**good, **wrong})
