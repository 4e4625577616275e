"""The commands as a user starts them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.commands import run_tool
from tests.helpers.fakes import write_checkpoint, write_config


@pytest.mark.parametrize(
    ("tool", "options"),
    [
        ("train.py", ["--work-dir", "--resume", "--amp", "--auto-scale-lr", "--cfg-options", "--launcher", "--seed"]),
        ("test.py", ["--out", "--show-dir", "--classwise", "--tta", "--deploy", "--cfg-options", "--launcher"]),
        ("predict.py", ["--config", "--checkpoint", "--out-dir", "--score-thr", "--device", "--tta", "--deploy"]),
        ("demo.py", ["--work-dir"]),
        ("benchmark.py", ["train", "infer", "data", "evaluate"]),
    ],
)
def test_help(tool: str, options: list[str], tmp_path: Path) -> None:
    done = run_tool(tool, "--help", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(option in done.stdout for option in options)
    assert done.stderr == ""


def test_train_then_test_then_predict(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    trained = run_tool("train.py", config, "--cfg-options", "train_cfg.max_epochs=2", folder=tmp_path)
    assert trained.returncode == 0, trained.stderr
    checkpoint = tmp_path / "work_dirs" / "square" / "epoch_2.pth"
    tested = run_tool("test.py", config, checkpoint, "--out", "results.json", "--classwise", folder=tmp_path)
    assert tested.returncode == 0, tested.stderr
    assert "mask     1.000" in tested.stdout
    assert "bright   1.000   1.000" in tested.stdout
    assert len(json.loads((tmp_path / "results.json").read_text())) == 4
    (tmp_path / "broken.png").write_bytes(b"no image")
    predicted = run_tool(
        "predict.py", "data", "broken.png", "--config", config, "--checkpoint", checkpoint, folder=tmp_path
    )
    assert predicted.returncode == 0, predicted.stderr
    assert "4 images, 4 objects" in predicted.stdout
    assert "1 could not be read" in predicted.stdout
    assert "broken.png" in predicted.stderr
    assert len(list((tmp_path / "predictions").glob("*.png"))) == 4


def test_user_errors_of_commands(tmp_path: Path) -> None:
    config, checkpoint = write_config(tmp_path), write_checkpoint(tmp_path / "weights.pth")
    missing = run_tool("train.py", "nowhere.py", folder=tmp_path)
    assert (missing.returncode, missing.stderr.count("\n")) == (2, 1)
    assert missing.stderr.startswith("error: ")
    assert "nowhere.py" in missing.stderr
    (tmp_path / "broken.png").write_bytes(b"no image")
    nothing = run_tool("predict.py", "broken.png", "--config", config, "--checkpoint", checkpoint, folder=tmp_path)
    assert nothing.returncode == 1
    assert "0 images" in nothing.stdout
