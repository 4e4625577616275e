"""Rows of a benchmark: statistics, selection by name, options, table and JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.rows import (
    Measurements,
    Row,
    check_options,
    count_row,
    format_table,
    measure_rows,
    percentile,
    quartiles,
    rate_row,
    time_row,
    write_json,
)
from solo.errors import ConfigError


def test_time_row() -> None:
    row = time_row("step", [1.0, 2.0, 4.0], [2.0, 3.0, 20.0])
    assert (row.ours, row.peer, row.unit) == (2000.0, 3000.0, "ms")
    assert row.ratio == 2.0, "the median of 2, 1.5 and 5"
    assert row.spread == (1.75, 3.5)
    assert row.equal is True
    assert row.noise == pytest.approx((3 - 1.5) / 2)
    assert row.peer_noise == pytest.approx((11.5 - 2.5) / 3)
    assert row.p95 == pytest.approx(3800)
    assert row.peer_p95 == pytest.approx(18300)
    assert row.is_noisy


def test_time_row_alone() -> None:
    assert time_row("step", [1.0, 3.0]) == Row("step", "ms", 2000.0, noise=0.5, p95=2900.0)
    assert time_row("step", [2.0]).noise is None, "a single value has no noise"


def test_a_stage_of_one_implementation_alone_has_no_ratio() -> None:
    row = time_row("resize", [0.0, 0.0], [1.0, 3.0])
    assert (row.ours, row.peer, row.ratio, row.spread, row.noise) == (0.0, 2000.0, None, None, None)


def test_rate_row() -> None:
    row = rate_row("images", "images/s", [10.0, 20.0, 30.0], [5.0, 5.0, 5.0])
    assert (row.ours, row.peer, row.ratio, row.spread) == (20.0, 5.0, 4.0, (3.0, 5.0))
    assert (row.noise, row.peer_noise) == (0.5, 0.0)


def test_percentile() -> None:
    assert percentile([4.0, 1.0, 2.0, 3.0, 5.0], 50) == 3.0
    assert percentile([1.0, 2.0], 95) == pytest.approx(1.95)
    assert percentile([7.0], 95) == 7.0


def test_count_row() -> None:
    assert count_row("syncs", "waits", 0, 210).ratio == 210
    assert count_row("bytes", "B", 100, 400).ratio == 4
    assert count_row("bytes", "B", 100, None) == Row("bytes", "B", 100, noise=0.0)


def test_quartiles_of_a_single_value() -> None:
    assert quartiles([3.0]) == (3.0, 3.0)


def test_report(tmp_path: Path) -> None:
    rows = [time_row("step", [1.0, 2.0, 4.0], [2.0, 3.0, 20.0]), count_row("bytes", "B", 5, None)]
    write_json(rows, tmp_path / "new" / "report.json")
    report = json.loads((tmp_path / "new" / "report.json").read_text())
    assert set(report) == {"machine", "command", "rows"}
    assert report["machine"]["versions"]["torch"]
    assert report["rows"][0]["name"] == "step"
    assert {"name", "unit", "ours", "peer", "ratio", "spread", "equal"} <= set(report["rows"][0])
    assert report["rows"][1]["peer"] is None
    table = format_table(rows).splitlines()
    cells = ["step", "2,000", "3,000", "ms", "3,800", "|", "18,300", "2.00", "1.75", "to", "3.50", "75%", "|", "300%"]
    assert table[1].split() == [*cells, "yes"]
    assert table[2].split() == ["bytes", "5", "B", "exact"]
    assert table[3] == "noisy, one implementation's values vary by more than 25%: step"


def measurements(done: list[str]) -> Measurements:
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
    assert [row.name for row in measure_rows(measurements(done), names)] == expected
    assert len(done) == len({name.split("_")[0].split("/")[0].replace("rate", "loop") for name in expected})


def test_an_unknown_name_is_reported_before_anything_is_measured() -> None:
    done: list[str] = []
    with pytest.raises(ConfigError, match=r"--rows lop: unknown \(did you mean 'loop'\?\); there are ops, ops_with"):
        measure_rows(measurements(done), ["step", "lop"])
    assert not done


def test_options() -> None:
    good = dict(against=None, repetitions=1, warmup=0)
    check_options(**good, images=None, batch_size=1)
    for wrong, message in (
        (dict(repetitions=0), "--iters must be at least 1, got 0"),
        (dict(warmup=-1), "--warmup must be at least 0, got -1"),
        (dict(result_images=0), "--result-images must be at least 1, got 0"),
        (dict(against="no_such_package"), "--against no_such_package: the package is not installed"),
    ):
        with pytest.raises(ConfigError, match=message):
            check_options(**{**good, **wrong})
