"""`solo test --boundary` in process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from solo.cli import main
from solo.config import load_config
from solo.config.overrides import set_metric_options
from solo.errors import ConfigError
from tests.helpers.fakes import write_checkpoint, write_config


def test_boundary_ap_beside_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    config, checkpoint = write_config(tmp_path), write_checkpoint(tmp_path / "weights.pth")
    pytest.importorskip("hotcoco", reason="a report needs hotcoco")
    assert main(["test", str(config), str(checkpoint), "--boundary", "--classwise", "--report", "report"]) == 0
    assert json.loads(Path("report/report.json").read_text())["boundary_ap"] == pytest.approx(1.0)
    lines = capsys.readouterr().out.splitlines()
    start = lines.index("              AP      50      75       S       M       L")
    rows = [line.split()[:2] for line in lines[start + 1 : start + 4]]
    assert rows == [["mask", "1.000"], ["box", "1.000"], ["boundary", "1.000"]]
    assert any(line.split() == ["mask", "box", "boundary"] for line in lines)


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ({}, ["segm", "bbox", "boundary"]),
        (dict(metric="segm"), ["segm", "boundary"]),
        (dict(metric=["boundary", "bbox"]), ["boundary", "bbox"]),
    ],
)
def test_what_the_config_names_stays(tmp_path: Path, named: dict[str, Any], expected: list[str]) -> None:
    config = load_config(write_config(tmp_path))
    config.test_evaluator.update(named)
    set_metric_options(config, out=None, classwise=False, boundary=True)
    assert config.test_evaluator.metric == expected


def test_without_the_metric(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path))
    config.test_evaluator = dict(type="DumpResults", out_file_path="results.pkl")
    with pytest.raises(ConfigError, match="--boundary need a CocoMaskMetric"):
        set_metric_options(config, out=None, classwise=False, boundary=True)
