"""The benchmark of prediction on a tiny model: its rows, and that it fails on a difference."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.generated import GeneratedOutputs
from benchmarks.inference import _FileCase, _HeadCase, benchmark_inference, image_paths
from benchmarks.predictors import STAGES, Predictor, build_predictors
from solo.cli import main
from solo.config import load_config
from solo.deployment import DeploymentOptions
from solo.errors import CheckpointError, ConfigError
from solo.registry import MODELS
from tests.helpers.tiny_benchmark import CONFIG, SMALL_IMAGES, ignore_meshgrid, needs_mmdet

pytestmark = ignore_meshgrid
LATENCY = "latency_tiny_solov2"
NAMES = ["predict_by_feat", "rle", "head_to_rle", LATENCY, "images_per_second_tiny_solov2"]
NAMES += [*(f"{LATENCY}/{stage}" for stage in STAGES), "peak_memory_predict"]
OPTIONS: dict[str, Any] = dict(repetitions=2, warmup=0, data="drawn", images=1, device="cpu", overrides=SMALL_IMAGES)


@needs_mmdet
@pytest.mark.long
def test_rows_beside_mmdet() -> None:
    rows = {row.name: row for row in benchmark_inference(CONFIG, against="mmdet", **OPTIONS)}
    assert list(rows) == NAMES
    for row in rows.values():
        assert row.equal is True and row.peer is not None
        assert (row.p95 is not None) == (row.unit == "ms")
    both = [rows[f"{LATENCY}/{stage}"] for stage in STAGES]
    assert all(row.ours > 0 and row.peer > 0 for row in both), "every stage is timed in both implementations"


@pytest.mark.long
def test_rows_alone() -> None:
    rows = benchmark_inference(CONFIG, batch_size=2, rows=["latency", "stages"], **{**OPTIONS, "images": 2})
    assert [row.name for row in rows] == [LATENCY, *(f"{LATENCY}/{stage}" for stage in STAGES)]
    assert all(row.peer is None and row.equal is None for row in rows)


def build(folder: Path, *, against: str | None = "mmdet") -> tuple[Any, list[Predictor]]:
    config = load_config(CONFIG, overrides=SMALL_IMAGES)
    return config, build_predictors(config, checkpoint=None, against=against, work_dir=str(folder), device="cpu")


@needs_mmdet
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: torch.nn.init.ones_(model.backbone.conv1.bias), "cls_logits differs"),
        (lambda model: setattr(model.postprocess.nms, "sigma", 3.0), "image 0: "),
        (lambda model: setattr(model.postprocess, "mask_thr", 0.4), "image 0: |mask pixels differ"),
    ],
    ids=["weights", "sigma", "mask threshold"],
)
def test_a_difference_fails(change: Callable[[Any], Any], message: str, tmp_path: Path) -> None:
    config, both = build(tmp_path)
    change(both[0].model)
    paths = image_paths(config, data="crowded:3", images=1, work_dir=str(tmp_path))
    with pytest.raises(AssertionError, match=message):
        _FileCase(both, paths, generated=GeneratedOutputs(config.model, num_candidates=300), batch_size=1)


def test_generated_outputs_are_detected_until_they_are_taken_back(tmp_path: Path) -> None:
    config, (ours,) = build(tmp_path, against=None)
    paths = image_paths(config, data="crowded:3", images=2, work_dir=str(tmp_path))
    assert len(paths) == 2
    assert [len(result.labels) for result in ours.predict(paths)] == [0, 0], "random weights detect nothing"
    real = ours.outputs()
    ours.replace_outputs(GeneratedOutputs(config.model, num_candidates=30))
    results = ours.predict(paths)
    assert all(len(result.labels) > 20 for result in results)
    assert torch.equal(results[0].masks, results[1].masks)
    assert all(torch.equal(before, after) for before, after in zip(real, ours.outputs(), strict=True))
    ours.replace_outputs(None)
    assert [len(result.labels) for result in ours.predict(paths)] == [0, 0]


def test_sizes_of_the_head_outputs(tmp_path: Path) -> None:
    config, both = build(tmp_path, against=None)
    heads = _HeadCase(config, both)
    assert heads._sizes == dict(image_size=(96, 128), original_size=(480, 640))
    assert heads._mask_size == (24, 32)
    assert heads._detections()[0].masks.shape == (100, 480, 640)


def test_a_checkpoint_brings_its_own_outputs(tmp_path: Path) -> None:
    config = load_config(CONFIG, overrides=SMALL_IMAGES)
    model = MODELS.build(config.model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / "a.pth")
    options = dict(OPTIONS, rows=["latency"])
    (row,) = benchmark_inference(CONFIG, checkpoint=str(tmp_path / "a.pth"), **options)
    assert row.name == LATENCY
    with pytest.raises(CheckpointError, match=r"b\.pth"):
        benchmark_inference(CONFIG, checkpoint=str(tmp_path / "b.pth"), **options)


def test_wrong_options() -> None:
    with pytest.raises(ConfigError, match="--images must be at least 1, got 0"):
        benchmark_inference(CONFIG, **{**OPTIONS, "images": 0})
    with pytest.raises(ConfigError, match=r"model\.kernel_size: mmdet's prediction cannot pad"):
        benchmark_inference(CONFIG, against="mmdet", **{**OPTIONS, "overrides": {"model.kernel_size": 3}})
    with pytest.raises(ConfigError, match="--rows latencies: unknown"):
        benchmark_inference(CONFIG, rows=["latencies"], **OPTIONS)


def test_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "")
    words = ["infer", CONFIG, "--data", "drawn", "--images", "1", "--checkpoint", "hf://solo/none/weights.pth"]
    assert main(["benchmark", *words, "--offline"]) == 2
    assert "it is not in the cache, and nothing is downloaded offline" in capsys.readouterr().err


def test_the_network_is_measured_as_it_is_deployed(tmp_path: Path) -> None:
    config = load_config(CONFIG, overrides=SMALL_IMAGES)
    norms = {}
    for name, options in dict(auto=None, none=DeploymentOptions()).items():
        (ours,) = build_predictors(
            config, checkpoint=None, against=None, work_dir=str(tmp_path), device="cpu", deployment=options
        )
        norms[name] = sum(isinstance(part, torch.nn.BatchNorm2d) for part in ours.model.modules())
    assert norms["auto"] == 0 < norms["none"]
