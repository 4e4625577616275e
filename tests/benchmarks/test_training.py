"""The benchmark of training on a tiny model: its rows, and that it fails on a difference."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from operator import attrgetter
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from mmengine.config import Config

from benchmarks.mmdet_reference import mmdet_config
from benchmarks.rows import Row
from benchmarks.training import TRAINING_STAGES, benchmark_training
from benchmarks.training_case import TargetsCase, TrainingCase, TrainingSetup, build_setups
from solo.config import load_config
from solo.config.overrides import use_amp
from solo.errors import ConfigError
from tests.helpers.tiny_benchmark import CONFIG, ROOT, ignore_meshgrid, needs_mmdet

NAMES = [
    "host_syncs",
    "ops_per_step",
    "ops_per_step_with_views",
    "mask_bytes",
    "targets",
    "sample_pipeline",
    "mask_loss",
    "train_step_tiny_solov2",
    "peak_memory_train",
    "images_per_second_train_tiny_solov2",
    "images_per_second_process",
    "step_with_loader",
    *(f"step_with_loader/{stage}" for stage in TRAINING_STAGES),
]
pytestmark = ignore_meshgrid


@pytest.fixture(scope="module")
def rows() -> dict[str, Row]:
    options = dict(repetitions=2, warmup=0, data="drawn", batch_size=2, images=3)
    found = benchmark_training(CONFIG, against="mmdet", **options)
    assert [row.name for row in found] == NAMES
    return {row.name: row for row in found}


@needs_mmdet
@pytest.mark.long
def test_mmdet_may_stay_in_float32(tmp_path: Path) -> None:
    config = load_config(CONFIG)
    wrapper = dict(config.optim_wrapper)
    use_amp(config)
    options = dict(data="drawn", against="mmdet", work_dir=str(tmp_path))
    mixed = [setup.optim_wrapper for setup in build_setups(config, **options)]
    assert {type(found).__name__ for found in mixed} == {type(mixed[0]).__name__} != {"OptimWrapper"}
    ours, reference = build_setups(config, reference_optim_wrapper=wrapper, **options)
    assert type(ours.optim_wrapper) is type(mixed[0])
    assert type(reference.optim_wrapper).__name__ == "OptimWrapper"
    assert type(reference.optim_wrapper.optimizer) is type(ours.optim_wrapper.optimizer)


def test_mmdet_in_float32_needs_a_comparison_and_mixed_precision() -> None:
    for options in (dict(against="mmdet"), dict(amp=True)):
        with pytest.raises(ConfigError, match=r"--peer-fp32 .* needs --amp and --against"):
            benchmark_training(CONFIG, reference_amp=False, data="drawn", **options)


@pytest.mark.long
@pytest.mark.parametrize("channels_last", [False, True])
def test_channels_last(channels_last: bool) -> None:
    built = []

    def build(config: Config, **options: Any) -> list[TrainingSetup]:
        built.extend(build_setups(config, **options))
        return built

    backbone = {"model.backbone.base_channels": 16, "model.neck.in_channels": [16, 32, 64, 128]}
    options: dict[str, Any] = dict(repetitions=1, warmup=0, data="drawn", batch_size=1, overrides=backbone)
    with mock.patch("benchmarks.training.build_setups", build):
        benchmark_training(CONFIG, channels_last=channels_last, rows=["train_step"], **options)
    weights = [weight for weight in built[0].model.parameters() if weight.ndim == 4 and min(weight.shape[1:]) > 1]
    assert weights
    assert all(weight.is_contiguous(memory_format=torch.channels_last) == channels_last for weight in weights)


@needs_mmdet
@pytest.mark.long
def test_rows(rows: dict[str, Row]) -> None:
    for row in rows.values():
        assert row.equal is True
        assert row.noise is not None and row.peer_noise is not None
        assert row.ratio is not None and row.ratio > 0
        assert (row.spread is not None) == (row.unit in ("ms", "images/s"))
        assert (row.p95 is not None) == (row.unit == "ms")


@needs_mmdet
@pytest.mark.long
def test_counts(rows: dict[str, Row]) -> None:
    assert rows["host_syncs"].ours == 0
    assert rows["ops_per_step"].ours <= rows["ops_per_step_with_views"].ours
    assert rows["mask_bytes"].ours < 4000


@pytest.mark.long
def test_alone(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "tools/benchmark.py",
        "train",
        CONFIG,
        "--synthetic",
        "--iters",
        "1",
        "--warmup",
        "0",
    ]
    options = ["--images", "1"]
    report = tmp_path / "report.json"
    done = subprocess.run(
        [*command, "--batch-size", "1", "--json", str(report), *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    rows = json.loads(report.read_text())["rows"]
    assert [row["name"] for row in rows] == [*NAMES, "peak_memory_host"]
    assert all(row["ours"] >= 0 and row["peer"] is None and row["equal"] is None for row in rows)
    assert "train_step_tiny_solov2" in done.stdout
    assert re.search(r"^1 CPU process \| \d+\.\d\d images/s$", done.stdout, re.MULTILINE)


def _set(name: str, value: float) -> Any:
    """A change of a model: set the attribute of this dotted name."""
    owner, _, attribute = name.rpartition(".")
    return lambda model: setattr(attrgetter(owner)(model), attribute, value)


@needs_mmdet
@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(_set("criterion.loss_mask.loss_weight", 2.9), "mask loss", id="dice loss"),
        pytest.param(_set("criterion.loss_cls.alpha", 0.3), "loss_cls", id="focal loss", marks=pytest.mark.long),
        pytest.param(_set("assigner.pos_scale", 0.9), "labels of image", id="assigner", marks=pytest.mark.long),
        pytest.param(
            lambda model: torch.nn.init.ones_(model.backbone.bn1.bias), "loss_", id="weights", marks=pytest.mark.long
        ),
    ],
)
def test_a_difference_fails(change: Any, message: str, tmp_path: Path) -> None:
    config = load_config(CONFIG)
    setups = build_setups(config, data="drawn", against="mmdet", work_dir=str(tmp_path))
    change(setups[0].model)
    with pytest.raises(AssertionError, match=message):
        TrainingCase(setups, batch_size=3)


def test_a_grid_that_mmdet_does_not_support() -> None:
    config = load_config(CONFIG, overrides={"model.grid.strides": [8, 8, 16, 32]})
    with pytest.raises(ConfigError, match=r"strides \[8, 8, 16, 32\]: mmdet's head always halves the first"):
        mmdet_config(config.model)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "loss_mask.boundary_weight",
            0.5,
            "boundary_weight 0.5: mmdet has no boundary loss; compare with",
        ),
        (
            "loss_cls",
            dict(_delete_=True, type="QualityFocalLoss"),
            "type QualityFocalLoss: mmdet trains with FocalLoss alone",
        ),
    ],
    ids=["boundaries", "scores"],
)
def test_losses_that_mmdet_does_not_have(key: str, value: object, message: str) -> None:
    overrides = {f"model.criterion.{key}": value}
    with pytest.raises(ConfigError, match=message):
        benchmark_training(CONFIG, against="mmdet", data="drawn", overrides=overrides)


def test_a_folder_without_annotations(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no annotations/instances_train\*\.json"):
        benchmark_training(CONFIG, data=str(tmp_path))


def test_chosen_rows() -> None:
    options: dict[str, Any] = dict(repetitions=1, warmup=0, data="drawn", batch_size=1)
    found = benchmark_training(CONFIG, rows=["train_step", "ops_per_step"], **options)
    assert [row.name for row in found] == ["ops_per_step", "train_step_tiny_solov2"]
    with pytest.raises(ConfigError, match=r"--rows ops_per_stp: unknown \(did you mean 'ops_per_step'\?\); there are"):
        benchmark_training(CONFIG, rows=["ops_per_stp"], **options)


@needs_mmdet
@pytest.mark.long
def test_the_pipelines_are_compared_over_every_image(tmp_path: Path) -> None:
    config = load_config(CONFIG)
    setups = build_setups(config, data="drawn", against="mmdet", work_dir=str(tmp_path))
    setups[1].dataset = _AnotherLastImage(setups[1].dataset)
    TargetsCase(setups, [0, 1])
    with pytest.raises(AssertionError, match="inputs: differs from mmdet's"):
        TargetsCase(setups, [2, 3])


class _AnotherLastImage:
    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __getitem__(self, index: int) -> Any:
        return self.dataset[4 if index == 3 else index]


def test_wrong_options() -> None:
    with pytest.raises(ConfigError, match="--images must be at least 1, got 0"):
        benchmark_training(CONFIG, images=0)
    with pytest.raises(ConfigError, match=r"--compile: mmdet would not be compiled"):
        benchmark_training(CONFIG, against="mmdet", compile=True)


def test_too_few_classes_for_generated_shapes() -> None:
    with pytest.raises(ConfigError, match="--data drawn has 4 classes, the config 1"):
        benchmark_training(CONFIG, data="drawn", overrides={"model.num_classes": 1})
