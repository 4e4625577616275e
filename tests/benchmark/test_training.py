"""The benchmark of training on a tiny model: its rows, and that it notices a difference."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from solo.benchmark.contenders import build_contenders
from solo.benchmark.mmdet_peer import mmdet_config
from solo.benchmark.pairs import Row
from solo.benchmark.same_training import TrainingCase
from solo.benchmark.training import benchmark_training
from solo.config import load_config
from solo.errors import ConfigError

ROOT = Path(__file__).parents[2]
CONFIG = "configs/shapes/solov2-nano_shapes.py"
# The last map doubled, as mmdet's head does; few channels, small pictures.
OVERRIDES = {
    "model.grid.strides": [8, 8, 16, 16],
    "model.backbone.base_channels": 4,
    "model.neck.in_channels": [4, 8, 16, 32],
    "model.head.feat_channels": 8,
}
NAMES = [
    "host_syncs",
    "ops_per_step",
    "ops_per_step_with_views",
    "mask_bytes",
    "targets",
    "sample_pipeline",
    "mask_loss",
    "train_step_solov2-nano_shapes",
    "peak_memory_train",
]
needs_mmdet = pytest.mark.skipif(importlib.util.find_spec("mmdet") is None, reason="mmdet is the peer")
# mmdet's head calls it so at every step.
pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid")


@pytest.fixture(scope="module")
def rows() -> dict[str, Row]:
    found = benchmark_training(
        str(ROOT / CONFIG), against="mmdet", pairs=2, warmup=0, data="drawn", batch_size=2, overrides=OVERRIDES
    )
    assert [row.name for row in found] == NAMES
    return {row.name: row for row in found}


@needs_mmdet
def test_rows(rows: dict[str, Row]) -> None:
    for row in rows.values():
        assert row.equal is True
        assert row.ratio is not None and row.ratio > 0
        assert (row.spread is not None) == (row.unit == "ms")


@needs_mmdet
def test_counts(rows: dict[str, Row]) -> None:
    assert rows["host_syncs"].ours == 0
    assert rows["host_syncs"].peer > 10
    assert rows["ops_per_step"].ratio > 1.5
    assert rows["mask_bytes"].ratio > 10


def test_alone(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "tools/benchmark.py",
        "train",
        CONFIG,
        "--data",
        "drawn",
        "--iters",
        "1",
        "--warmup",
        "0",
    ]
    options = [f"{key}={value}".replace(" ", "") for key, value in OVERRIDES.items()]
    report = tmp_path / "report.json"
    done = subprocess.run(
        [*command, "--batch-size", "1", "--json", str(report), "--cfg-options", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    rows = json.loads(report.read_text())["rows"]
    assert [row["name"] for row in rows] == NAMES
    assert all(row["ours"] >= 0 and row["peer"] is None and row["equal"] is None for row in rows)
    assert "train_step_solov2-nano_shapes" in done.stdout


@needs_mmdet
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: setattr(model.criterion.loss_mask, "loss_weight", 2.9), "mask loss"),
        (lambda model: setattr(model.criterion.loss_cls, "alpha", 0.3), "loss_cls"),
        (lambda model: setattr(model.assigner, "pos_scale", 0.9), "labels of image"),
        (lambda model: torch.nn.init.ones_(model.backbone.bn1.bias), "loss_"),
    ],
    ids=["dice loss", "focal loss", "assigner", "weights"],
)
def test_a_difference_ends_the_benchmark(change: Any, message: str, tmp_path: Path) -> None:
    config = load_config(str(ROOT / CONFIG), overrides=OVERRIDES)
    contenders = build_contenders(config, data="drawn", against="mmdet", work_dir=str(tmp_path))
    change(contenders[0].model)
    with pytest.raises(AssertionError, match=message):
        TrainingCase(contenders, batch_size=3)


def test_a_grid_that_mmdet_cannot_have() -> None:
    config = load_config(str(ROOT / CONFIG))
    with pytest.raises(ConfigError, match=r"strides \[8, 8, 16, 32\]: mmdet's head always halves the first"):
        mmdet_config(config.model)


def test_a_folder_without_annotations(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no annotations/instances_train\*\.json"):
        benchmark_training(str(ROOT / CONFIG), data=str(tmp_path))


def test_chosen_rows() -> None:
    options: dict[str, Any] = dict(pairs=1, warmup=0, data="drawn", batch_size=1, overrides=OVERRIDES)
    found = benchmark_training(str(ROOT / CONFIG), rows=["train_step", "ops_per_step"], **options)
    assert [row.name for row in found] == ["ops_per_step", "train_step_solov2-nano_shapes"]
    with pytest.raises(ConfigError, match=r"--rows ops_per_stp: unknown \(did you mean 'ops_per_step'\?\); there are"):
        benchmark_training(str(ROOT / CONFIG), rows=["ops_per_stp"], **options)


def test_too_few_classes_for_the_drawn_pictures() -> None:
    with pytest.raises(ConfigError, match="--data drawn has 4 classes, the config 1"):
        benchmark_training(str(ROOT / CONFIG), data="drawn", overrides={"model.num_classes": 1})
