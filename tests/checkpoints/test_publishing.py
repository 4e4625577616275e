"""A published folder: complete, small, loadable, and with a card that says what was measured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from solo.checkpoints import load_checkpoint
from solo.checkpoints.publishing import publish
from solo.cli import main
from solo.config import load_config
from solo.errors import CheckpointError
from tests.helpers.fakes import write_checkpoint, write_config

MEASURED = dict(
    format="solo evaluation report",
    images=7,
    overall=dict(name="all classes", objects=9, ap=0.25, ap_50=0.5, ap_75=-1, best_threshold=0.3, f1=0.75),
    classes=[
        dict(name="dark|<b>", objects=0, ap=-1, ap_50=-1, ap_75=-1, best_threshold=None, f1=0.0),
        dict(name="bright", objects=9, ap=0.25, ap_50=0.5, ap_75=-1, best_threshold=0.3, f1=0.75),
    ],
    merged=dict(number=2, members=5),
    split=dict(number=1, members=2),
)


@pytest.fixture
def model(tmp_path: Path) -> tuple[Path, Path]:
    """Config and checkpoint, in which the state of a training lies beside the weights."""
    config, checkpoint = write_config(tmp_path), write_checkpoint(tmp_path / "weights.pth")
    content = torch.load(checkpoint, weights_only=True)
    torch.save(
        {**content, "optimizer": {"state": torch.zeros(10_000)}, "ema_state_dict": content["state_dict"]}, checkpoint
    )
    return config, checkpoint


@pytest.mark.parametrize("format", ["safetensors", "pth"])
def test_files_hold_the_model_and_nothing_else(model: tuple[Path, Path], tmp_path: Path, format: Any) -> None:
    config, checkpoint = model
    files = publish(checkpoint, tmp_path / "out", config=config, format=format)
    assert [file.name for file in files] == [f"weights.{format}", "config.py", "README.md"]
    before, after = load_checkpoint(checkpoint), load_checkpoint(files[0])
    assert after.keys() == {"state_dict", "meta"}
    assert all(torch.equal(after["state_dict"][name], value) for name, value in before["state_dict"].items())
    assert list(after["meta"]["dataset_meta"]["classes"]) == ["dark", "bright"]
    assert len(after["meta"]["published_from"]["sha256"]) == 64
    assert files[0].stat().st_size < 5_000
    settings = load_config(files[1])
    assert settings.model == load_config(config).model and "work_dir" not in settings
    assert "Nothing was measured" in files[2].read_text()


def test_command_with_report(model: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, checkpoint = model
    report = tmp_path / "report.json"
    report.write_text(json.dumps(MEASURED))
    words = ["publish", str(checkpoint), str(tmp_path / "out"), "--config", str(config)]
    assert main([*words, "--report", str(report), "--licence", "cc-by-4.0"]) == 0
    assert capsys.readouterr().out.startswith("published ")
    card = (tmp_path / "out" / "README.md").read_text()
    assert 'license: "cc-by-4.0"' in card and "2 classes: dark, bright." in card
    assert "| all classes | 0.250 | 0.500 | - | 0.300 | 0.750 |" in card
    assert "| dark\\|&lt;b> | - | - | - | - | 0.000 |" in card
    assert "2 masks hold several objects, 1 objects have several masks" in card
    assert main(words) == 2 and "--overwrite" in capsys.readouterr().err


def test_published_weights_are_tested(
    model: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config, checkpoint = model
    files = publish(checkpoint, tmp_path / "out", config=config)
    shutil.copy(config, tmp_path / "same.py")
    monkeypatch.chdir(tmp_path)
    for weights, settings in ((checkpoint, config), (files[0], files[1])):
        assert main(["test", str(settings), str(weights), "--work-dir", "work"]) == 0
    tables = [line for line in capsys.readouterr().out.splitlines() if line.startswith("mask ")]
    assert len(tables) == 2 and tables[0] == tables[1]


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "is no report.json"), ('{"format": "x"}', "is no report.json"), (None, "does not exist")],
)
def test_a_report_that_is_none(
    model: tuple[Path, Path], tmp_path: Path, content: str | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config, checkpoint = model
    if content is not None:
        (tmp_path / "r.json").write_text(content)
    words = ["publish", str(checkpoint), str(tmp_path / "out"), "--config", str(config)]
    assert main([*words, "--report", str(tmp_path / "r.json")]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_classes_are_needed(model: tuple[Path, Path], tmp_path: Path) -> None:
    nameless = write_checkpoint(tmp_path / "nameless.pth", classes=None)
    with pytest.raises(CheckpointError, match="it names 0 classes, the model has 2"):
        publish(nameless, tmp_path / "out", config=model[0])
