"""Several configs timed beside the first, on a tiny model."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.configs import benchmark_configs
from solo.cli import main
from tests.helpers.tiny_benchmark import CONFIG, SMALL_IMAGES

FIRST = "tiny_solov2"


@pytest.fixture
def other(tmp_path: Path) -> str:
    """The same model with fewer mask features."""
    path = tmp_path / "narrow.py"
    path.write_text(f"_base_ = {CONFIG!r}\nmodel = dict(mask_feature=dict(out_channels=8))\n")
    return str(path)


@pytest.mark.long
def test_a_row_for_each_config_beside_the_first(other: str) -> None:
    options = dict(repetitions=2, warmup=0, data="drawn", images=2, batch_size=2, device="cpu", overrides=SMALL_IMAGES)
    rows = benchmark_configs(CONFIG, [other], **options)
    assert [(row.name, row.unit) for row in rows] == [
        ("latency_narrow", "ms"),
        ("images_per_second_narrow", "images/s"),
    ]
    assert all(row.ours > 0 and row.peer and row.ratio and row.equal is None for row in rows)
    latency, rate = rows
    assert rate.ratio == pytest.approx(latency.ratio)


@pytest.mark.long
def test_command(other: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["benchmark", "infer", CONFIG, "--beside", other, "--data", "drawn", "--images", "1", "--rows", "latency"]
    words += ["--iters", "1", "--warmup", "0"]
    assert main(words) == 0
    header, row = capsys.readouterr().out.splitlines()[:2]
    assert header.split()[:2] == ["ours", FIRST]
    assert row.startswith("latency_narrow")


@pytest.mark.parametrize("option", ["against", "checkpoint", "exported"])
def test_options_of_one_config(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    value = {"against": "mmdet", "checkpoint": "weights.pth", "exported": "m.onnx"}[option]
    assert main(["benchmark", "infer", CONFIG, "--beside", CONFIG, f"--{option}", value]) == 2
    expected = f"error: --beside times configs with random weights; it does not go with --{option}\n"
    assert capsys.readouterr().err == expected


def test_a_config_twice(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "infer", CONFIG, "--beside", CONFIG, "--data", "drawn"]) == 2
    assert capsys.readouterr().err == f"error: --beside: two configs are called {FIRST}\n"
