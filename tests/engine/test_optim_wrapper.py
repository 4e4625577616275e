"""Options of the optimizer wrapper: precision, accumulation, fused updates."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import Tensor

from solo.engine import BFloat16OptimWrapper
from solo.engine.training import train
from solo.models import SOLOv2
from tests.helpers.fakes import write_config
from tests.helpers.tiny_model import build_tiny, rectangles, training_sample

SIZE = (64, 96)
SGD = dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=1e-4)
ADAMW = dict(type="AdamW", lr=0.001, weight_decay=0.05)


def batch(images: list[int]) -> dict[str, Any]:
    """Images with as many positives each."""
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(4, 3, *SIZE, generator=generator)[images]
    boxes = [(4, 4, 20, 24), (10, 10, 90, 60)]
    return dict(inputs=inputs, data_samples=[training_sample(rectangles(SIZE, *boxes), [0, 2]) for _ in images])


def steps(model: SOLOv2, batches: list[dict[str, Any]], **wrapper: Any) -> dict[str, Tensor]:
    """Weights after a step on each batch."""
    with DefaultScope.overwrite_default_scope("solo"):
        optim_wrapper = build_optim_wrapper(model, ConfigDict(copy.deepcopy(wrapper)))
    optim_wrapper.initialize_count_status(model, 0, len(batches))
    for data in batches:
        with optim_wrapper.optim_context(model):
            total, _ = model.parse_losses(model(**data, mode="loss"))
        optim_wrapper.update_params(total)
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def largest_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.mark.parametrize("optimizer", [SGD, ADAMW], ids=["SGD", "AdamW"])
@pytest.mark.parametrize("option", ["foreach", "fused"])
def test_fused_updates_are_the_same(optimizer: dict[str, Any], option: str) -> None:
    batches = [batch([0, 1]), batch([2, 3])]
    plain = steps(build_tiny(), batches, optimizer=dict(optimizer, foreach=False), clip_grad=dict(max_norm=1.0))
    fused = steps(
        build_tiny(),
        batches,
        optimizer=dict(optimizer, **{option: True}),
        clip_grad=dict(max_norm=1.0, foreach=True),
    )
    assert largest_difference(plain, fused) <= 2e-5
    assert largest_difference(plain, build_tiny().state_dict()) > 1e-4


def test_accumulated_steps_equal_a_larger_batch() -> None:
    """With as many positives in each part; else each part's losses are means over its own."""
    whole = steps(build_tiny(), [batch([0, 1, 2, 3])], optimizer=SGD)
    parts = steps(build_tiny(), [batch([0, 1]), batch([2, 3])], optimizer=SGD, accumulative_counts=2)
    start = build_tiny().state_dict()
    moved = largest_difference(whole, start)
    # The class loss is divided by the number of positive cells + 1, which is not twice that of a half.
    assert largest_difference(whole, parts) <= 0.05 * moved


def test_bfloat16_follows_single_precision() -> None:
    batches = [batch([0, 1]), batch([2, 3])] * 3
    single = steps(build_tiny(), batches, optimizer=SGD)
    model = build_tiny()
    half = steps(model, batches, type="BFloat16OptimWrapper", optimizer=SGD)
    moved = largest_difference(single, build_tiny().state_dict())
    assert all(value.dtype == single[name].dtype for name, value in half.items()), "weights stay float32"
    assert 0 < largest_difference(single, half) <= 0.2 * moved


def test_bfloat16_runs_the_network_in_it() -> None:
    model = build_tiny()
    wrapper = BFloat16OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    with wrapper.optim_context(model):
        outputs = model(batch([0])["inputs"])
        losses = model(**batch([0]), mode="loss")
    assert outputs.kernels.dtype == torch.bfloat16
    assert all(loss.dtype == torch.float32 for loss in losses.values())
    assert model(batch([0])["inputs"]).kernels.dtype == torch.float32


@pytest.mark.parametrize("native", [True, False])
def test_bfloat16_only_where_the_hardware_has_it(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("solo.engine.optimizer.has_native_bfloat16", lambda device: native)
    model = build_tiny()
    wrapper = BFloat16OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1), only_native=True)
    with wrapper.optim_context(model):
        kernels = model(batch([0])["inputs"]).kernels
    assert kernels.dtype == (torch.bfloat16 if native else torch.float32)


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU it is mmengine's wrapper")
def test_amp_without_a_gpu_is_bfloat16(tmp_path: Path) -> None:
    overrides = {"optim_wrapper.type": "AmpOptimWrapper", "optim_wrapper.loss_scale": "dynamic"}
    runner = train(
        str(write_config(tmp_path)), work_dir=str(tmp_path / "work"), amp=True, overrides={"train_cfg.max_epochs": 1}
    )
    assert type(runner.optim_wrapper) is BFloat16OptimWrapper
    again = train(
        str(write_config(tmp_path / "again")),
        work_dir=str(tmp_path / "again" / "work"),
        amp=True,
        overrides={"train_cfg.max_epochs": 1, **overrides},
    )
    assert type(again.optim_wrapper) is BFloat16OptimWrapper
