"""The end of a training: the best epoch, the files, and a next command that the test command accepts."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from solo.cli import main
from solo.engine.summary import training_summary
from solo.engine.training import train
from tests.helpers.fakes import write_config

SAVE_BEST = {"default_hooks.checkpoint.save_best": "coco/segm_mAP", "default_hooks.checkpoint.rule": "greater"}
NO_VALIDATION = "val_dataloader = val_evaluator = val_cfg = None\ntest_dataloader = test_evaluator = test_cfg = None\n"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_config(tmp_path).relative_to(tmp_path)


def summarise(config: Path, **overrides: Any) -> str:
    runner = train(str(config), overrides=overrides)
    return training_summary(runner, str(config), has_overrides=bool(overrides))


def test_summary_and_its_command(config: Path) -> None:
    text = summarise(config, **SAVE_BEST)
    assert re.match(r"Trained 3 of 3 epochs\. Best epoch [123]: mask AP [01]\.\d{3}, box AP", text)
    named = re.findall(r"(work_dirs/\S+\.(?:pth|png))", text)
    assert len(named) == 4 and all(Path(path).is_file() for path in named)
    (command,) = re.findall(r"Next: (.*)", text)
    words = shlex.split(command)
    assert words[:3] == ["solo", "test", "work_dirs/square/square.py"]  # the one that holds the overrides
    assert main(words[1:]) == 0 and Path("work_dirs/square/report/report.html").is_file()


def test_without_validation(config: Path) -> None:
    config.write_text(config.read_text() + NO_VALIDATION)
    text = summarise(config)
    assert text.startswith("Trained 3 of 3 epochs. It was not validated")
    assert f"solo test {config} work_dirs/square/epoch_3.pth" in text
