"""`--batch-size auto`: what limits the size, and a measured step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

from solo.cli.train import _batch_size
from solo.engine.batch_size import MIB, StepMemory, fit_batch_size, free_memory, measure_step
from solo.errors import ConfigError
from tests.helpers.coco_files import TRAIN, objects, write
from tests.helpers.tiny_model import tiny_config

STEP = StepMemory(constant=100 * MIB, image=50 * MIB)


@pytest.mark.parametrize(
    ("free", "device", "images", "configured", "size", "limit"),
    [
        (10_000, "cuda", 10_000, 8, 64, "the largest that is tried"),
        (1_000, "cuda", 10_000, 8, 8, "memory (80% of the 1,000 MiB that are free)"),  # (800 - 100) / 50 = 14
        (10_000, "cuda", 300, 8, 32, "8 steps an epoch with 300 images"),  # 37
        (10_000, "cuda", 9, 8, 8, "8 steps an epoch with 9 images"),  # as configured
        (10_000, "cpu", 10_000, 8, 8, "the config's batch size"),
        (10_000, "cpu", 10_000, 6, 6, "the config's batch size"),  # not rounded down
        (600, "cpu", 10_000, 8, 4, "memory (60% of the 600 MiB that are free)"),  # (360 - 100) / 50 = 5
    ],
)
def test_the_tightest_limit_decides(
    free: int, device: str, images: int, configured: int, size: int, limit: str
) -> None:
    chosen = fit_batch_size(STEP, free=free * MIB, device=device, num_images=images, configured=configured)
    assert chosen.size == size
    assert chosen.reason.startswith("50 MiB an image and 100 MiB for gradients and optimiser; limited by " + limit)
    assert "\n" not in chosen.reason


def test_not_one_image_fits() -> None:
    with pytest.raises(ConfigError, match="not one image fits"):
        fit_batch_size(STEP, free=200 * MIB, device="cpu", num_images=100, configured=8)


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5"])
def test_option(text: str) -> None:
    with pytest.raises(Exception, match="expected a number from 1, or auto"):
        _batch_size(text)
    assert (_batch_size("auto"), _batch_size("12")) == ("auto", 12)


def test_a_measured_step(tmp_path: Path) -> None:
    write(tmp_path, objects(4))
    dataset = dict(type="CocoInstances", data_root=str(tmp_path), ann_file="annotations.json", pipeline=TRAIN)
    adamw = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=0.001))
    settings: dict[str, Any] = dict(
        model=tiny_config(), train_dataloader=dict(batch_size=2, dataset=dataset), optim_wrapper=adamw
    )
    data, memory = measure_step(Config(settings), device="cpu")
    assert len(data) == 4 and memory.image >= 0
    from solo.registry import MODELS

    weights = sum(p.numel() * 4 for p in MODELS.build(tiny_config()).parameters() if p.requires_grad)
    # Gradients and two moments, and a counter of each parameter.
    assert 3 * weights <= memory.constant <= 3.1 * weights
    assert free_memory("cpu") > 0 and not torch.cuda.is_initialized()
