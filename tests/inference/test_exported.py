"""Exported files give what the checkpoint gives: in SOLOPredictor, `solo predict` and `solo test`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.config import Config

from solo import SOLOPredictor
from solo.cli import main
from solo.engine.testing import test
from solo.errors import ConfigError
from solo.export import ExportOptions, export_model
from solo.inference.instances import Instances
from solo.runtime import RuntimeOptions
from solo.runtime.model import ExportedModel
from tests.helpers.exported import NEAR_THRESHOLD, export_config, write_random_checkpoint
from tests.helpers.fakes import write_data
from tests.helpers.tiny_model import tiny_config

pytest.importorskip("onnx", reason="needs solov2[onnx]")
pytest.importorskip("onnxruntime", reason="needs solov2[onnx]")
pytest.importorskip("openvino", reason="needs solov2[openvino]")

pytestmark = pytest.mark.long
run_test = test
del test  # pytest would collect it

CASES = [("onnx", "detections"), ("onnx", "raw"), ("openvino", "detections"), ("pt2", "raw")]
SIZES = [(128, 128), (160, 128), (134, 195)]
"""None below `min_size` of a .pt2 file: padding that the model does not have changes its group normalisations."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Path]:
    """A config and a checkpoint with random weights."""
    config = export_config(tiny_config())
    return config, write_random_checkpoint(config, tmp_path_factory.mktemp("tiny") / "weights.pth")


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    """Random images of several sizes, and one without an object."""
    generator = np.random.default_rng(0)
    noise = [generator.integers(0, 256, (*size, 3), dtype=np.uint8) for size in SIZES]
    return [*noise, np.zeros((128, 160, 3), np.uint8)]


def check_same(found: Instances, expected: Instances, limits: tuple[Instances, Instances] | None) -> None:
    """Labels in the same order, scores within 1e-4; masks between those of thresholds a little apart."""
    assert found.labels.tolist() == expected.labels.tolist()
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
    assert (found.image_size, found.classes) == (expected.image_size, expected.classes)
    masks, same = found.to_bool(), expected.to_bool()
    if limits is None:
        assert (masks != same).sum() <= 1 + masks.size // 10_000
    else:
        wide, narrow = (limit.to_bool() for limit in limits)
        assert not (same & ~wide).any() and not (narrow & ~same).any()
    boxes = np.abs(found.boxes - expected.boxes).max(axis=1, initial=0)
    assert (boxes <= 1).mean() > 0.9 if len(boxes) else True


@pytest.mark.parametrize(("format", "contract"), CASES)
def test_instances_are_those_of_the_checkpoint(
    tiny: tuple[Config, Path], images: list[np.ndarray], tmp_path: Path, format: str, contract: str
) -> None:
    config, checkpoint = tiny
    suffix = {"openvino": "_openvino"}.get(format, f".{format}")
    options = ExportOptions(format=format, contract=contract, verify=False)
    path = export_model(config, checkpoint, options=options, out=tmp_path / f"m{suffix}")
    predictor, reference = SOLOPredictor(path, device="cpu"), SOLOPredictor(config, checkpoint, device="cpu")
    assert predictor.classes == reference.classes
    for batch_size in (1, 2, 4):
        found, expected = (each(images, batch_size=batch_size) for each in (predictor, reference))
        assert sum(map(len, expected)) > 20
        limits = None
        if contract == "detections":
            limits = [
                with_threshold(path, 0.5 + offset)(images, batch_size) for offset in (-NEAR_THRESHOLD, NEAR_THRESHOLD)
            ]
        for index, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
            check_same(ours, theirs, limits and (limits[0][index], limits[1][index]))


def with_threshold(path: Path, threshold: float) -> Any:
    """Predicts with another threshold of the resized masks; the graph is the same."""
    model = ExportedModel(path, device="cpu")
    model.metadata = replace(model.metadata, postprocess=replace(model.metadata.postprocess, mask_thr=threshold))

    def predict(images: list[np.ndarray], batch_size: int) -> list[Instances]:
        parts = [images[start : start + batch_size] for start in range(0, len(images), batch_size)]
        return [found for part in parts for found in model.predict(part)]

    return predict


@pytest.fixture(scope="module")
def square(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A config file with data, a checkpoint and an exported file."""
    folder = tmp_path_factory.mktemp("square")
    (folder / "data").mkdir()
    ann_file = write_data(folder / "data", count=3)
    config = export_config({**tiny_config(), "num_classes": 2})
    dataset = dict(
        type="CocoInstances",
        data_root=str(folder / "data"),
        ann_file=str(ann_file),
        data_prefix=dict(img=""),
        test_mode=True,
        pipeline=config.test_pipeline,
    )
    config.test_dataloader = dict(
        batch_size=2, num_workers=0, dataset=dataset, sampler=dict(type="DefaultSampler", shuffle=False)
    )
    config.test_cfg = dict(type="TestLoop")
    config.test_evaluator = dict(type="CocoMaskMetric")
    config.default_scope = "solo"
    config.dump(folder / "tiny.py")
    checkpoint = write_random_checkpoint(config, folder / "weights.pth")
    path = export_model(config, checkpoint, options=ExportOptions(verify=False), out=folder / "m.onnx")
    return folder / "tiny.py", checkpoint, path


def test_an_evaluation_finds_what_that_of_the_checkpoint_finds(square: tuple[Path, Path, Path], tmp_path: Path) -> None:
    config, checkpoint, path = square
    results = {}
    for weights in (checkpoint, path):
        out = tmp_path / f"{weights.name}.json"
        metrics = run_test(str(config), str(weights), work_dir=str(tmp_path / weights.name), out=str(out))
        results[weights] = metrics, json.loads(out.read_text())
    (metrics, found), (expected_metrics, expected) = results[path], results[checkpoint]
    assert metrics.keys() == expected_metrics.keys()
    assert len(found) == len(expected) > 0
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours["image_id"], ours["category_id"]) == (theirs["image_id"], theirs["category_id"])
        assert ours["score"] == pytest.approx(theirs["score"], abs=1e-4)
    resumed = run_test(str(config), str(path), work_dir=str(tmp_path / path.name), resume=True)
    assert resumed == metrics


def test_what_an_evaluation_refuses(square: tuple[Path, Path, Path], tmp_path: Path) -> None:
    config, checkpoint, path = square
    with pytest.raises(ConfigError, match="an exported file has neither test-time augmentation nor"):
        run_test(str(config), str(path), work_dir=str(tmp_path), tta=True)
    with pytest.raises(ConfigError, match="a checkpoint is run with"):
        run_test(str(config), str(checkpoint), work_dir=str(tmp_path), deployment=RuntimeOptions())
    resize = [dict(type="LoadImage"), dict(type="mmdet.Resize", scale=(40, 40)), dict(type="PackSample")]
    with pytest.raises(ConfigError, match=r"the config's test pipeline resizes an image .* but .*m\.onnx is to get"):
        run_test(str(config), str(path), work_dir=str(tmp_path), overrides={"test_dataloader.dataset.pipeline": resize})


def test_predict_needs_no_config(
    square: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, checkpoint, path = square
    image = str(config.parent / "data" / "0.png")
    assert main(["predict", image, "--checkpoint", str(path), "--out-dir", str(tmp_path / "out")]) == 0
    assert "1 images" in capsys.readouterr().out
    assert main(["predict", image, "--checkpoint", str(checkpoint)]) == 2
    assert "needs --config; only exported files need none" in capsys.readouterr().err
    words = ["predict", image, "--checkpoint", str(path), "--cfg-options", "a=1"]
    assert main(words) == 2
    assert "--cfg-options change nothing in the exported file" in capsys.readouterr().err
