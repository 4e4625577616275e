"""The demonstration on a tiny config."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from solo.engine.demo import run_demo
from tests.helpers.fakes import write_config


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, work_dir = write_config(tmp_path), tmp_path / "demo"
    for _ in range(2):  # a second run overwrites the first
        summary = run_demo(str(config), work_dir=str(work_dir))
    assert json.loads((work_dir / "summary.json").read_text()) == summary
    assert summary["mask_AP"] == pytest.approx(1.0)
    assert summary["box_AP"] == pytest.approx(1.0)
    assert 0 < summary["train_seconds"] <= summary["total_seconds"]
    assert len(list(Path(summary["visualisations"]).glob("*.png"))) == 4
    report = capsys.readouterr().out
    assert "mask     1.000" in report
    assert str(work_dir / "visualisations") in report
