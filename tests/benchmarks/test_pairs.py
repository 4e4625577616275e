from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from benchmarks import pairs
from benchmarks.pairs import Row, Work, count_row, percentile, quartiles, rate_row, time_in_turns, time_row
from benchmarks.report import as_table, write_json


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
    assert time_row("step", [2.0]).noise is None, "of a single value nothing is known"


def test_a_stage_that_one_side_does_not_have() -> None:
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


def test_progress_of_something_long(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(pairs, "PROGRESS_SECONDS", 0.0)
    time_in_turns(lambda: lambda: None, pairs=1, warmup=1, name="step")
    time_in_turns(lambda: lambda: None, pairs=1, warmup=1)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == ["step: 1 of 2", "step: 2 of 2"]


def test_count_row() -> None:
    assert count_row("syncs", "waits", 0, 210).ratio == 210
    assert count_row("bytes", "B", 100, 400).ratio == 4
    assert count_row("bytes", "B", 100, None) == Row("bytes", "B", 100, noise=0.0)


def test_quartiles_of_one() -> None:
    assert quartiles([3.0]) == (3.0, 3.0)


def test_turns_are_interleaved_and_preparation_is_not_timed() -> None:
    events: list[str] = []

    def contender(name: str) -> Work:
        def prepare() -> Work:
            events.append(f"prepare {name}")
            time.sleep(0.02)
            return lambda: events.append(name)

        return prepare  # type: ignore[return-value]

    ours, peer = time_in_turns(contender("ours"), contender("peer"), pairs=2, warmup=1)  # type: ignore[arg-type]
    assert events == ["prepare ours", "ours", "prepare peer", "peer"] * 3
    assert len(ours) == len(peer) == 2
    assert max(ours + peer) < 0.02


def test_report(tmp_path: Path) -> None:
    rows = [time_row("step", [1.0, 2.0, 4.0], [2.0, 3.0, 20.0]), count_row("bytes", "B", 5, None)]
    write_json(rows, tmp_path / "new" / "report.json")
    report = json.loads((tmp_path / "new" / "report.json").read_text())
    assert set(report) == {"machine", "command", "rows"}
    assert report["machine"]["versions"]["torch"]
    assert report["rows"][0]["name"] == "step"
    assert {"name", "unit", "ours", "peer", "ratio", "spread", "equal"} <= set(report["rows"][0])
    assert report["rows"][1]["peer"] is None
    table = as_table(rows).splitlines()
    cells = ["step", "2,000", "3,000", "ms", "3,800", "|", "18,300", "2.00", "1.75", "to", "3.50", "75%", "|", "300%"]
    assert table[1].split() == [*cells, "yes"]
    assert table[2].split() == ["bytes", "5", "B", "exact"]
    assert table[3] == "noisy, values of one side vary by more than 25%: step"
