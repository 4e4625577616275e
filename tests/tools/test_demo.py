"""The demonstration on a tiny config."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.commands import run_tool
from tests.helpers.fakes import write_config


def test_demo(tmp_path: Path) -> None:
    config, work_dir = write_config(tmp_path), tmp_path / "demo"
    for _ in range(2):  # a second run overwrites the first
        done = run_tool("demo.py", "--config", config, "--work-dir", work_dir, folder=tmp_path)
        assert done.returncode == 0, done.stderr
    summary = json.loads((work_dir / "summary.json").read_text())
    assert summary["mask_AP"] == pytest.approx(1.0)
    assert summary["box_AP"] == pytest.approx(1.0)
    assert 0 < summary["train_seconds"] <= summary["total_seconds"]
    assert len(list(Path(summary["visualisations"]).glob("*.png"))) == 4
    assert "mask     1.000" in done.stdout
    assert str(work_dir / "visualisations") in done.stdout
