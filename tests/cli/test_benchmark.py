"""`solo benchmark` where benchmarks/ is absent, as in an installed wheel."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from solo.cli import main
from tests.helpers.tiny_benchmark import CONFIG


@pytest.fixture(autouse=True)
def _no_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("solo.cli.benchmark.find_clone", lambda: None)


@pytest.mark.long
def test_own_throughput(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loader = dict(num_workers=0, persistent_workers=False)
    data = dict(data_root=tmp_path / "shapes", num_train=2, num_val=1)
    words = [f"train_dataloader.{key}={value}" for key, value in loader.items()]
    words += [f"train_dataloader.dataset.{key}={value}" for key, value in data.items()]
    options = ["--rows", "throughput", "--iters", "1", "--warmup", "0", "--batch-size", "1"]
    assert main(["benchmark", "train", CONFIG, *options, "--cfg-options", *words]) == 0
    assert re.fullmatch(r"1 CPU process \| \d+\.\d\d images/s", capsys.readouterr().out.splitlines()[-1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["infer", CONFIG], "error: this measurement needs benchmarks/, so a clone"),
        (["train", CONFIG, "--rows", "throughput", "--against", "mmdet"], "error: --against needs benchmarks/"),
    ],
    ids=["prediction", "comparison"],
)
def test_comparisons_need_a_clone(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(message) and error.count("\n") == 1
