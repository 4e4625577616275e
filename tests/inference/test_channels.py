"""Images of other channels and depths than 8-bit colour: trained on, tested, predicted, and run as an exported file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from solo import SOLOPredictor
from solo.cli import main
from solo.config.channels import check_channels
from solo.engine.testing import test as run_test
from solo.engine.training import train
from solo.errors import ConfigError, DataError
from solo.export import ExportOptions, export_model
from solo.inference.instances import Instances
from tests.helpers.exported import write_random_checkpoint
from tests.helpers.tiff_files import tiff_bytes
from tests.helpers.tiny_model import tiny_config

HEIGHT, WIDTH = 128, 160
TWELVE_BITS = dict(value_range=(0, 4095))


def model_config(channels: int) -> dict[str, Any]:
    return tiny_config(
        data_preprocessor=dict(mean=[100.0] * channels, std=[50.0] * channels, bgr_to_rgb=channels >= 3),
        backbone=dict(in_channels=channels),
    )


def write_images(folder: Path, channels: int) -> None:
    """Four images of 12 bits in 16 with a bright rectangle each, and their annotations."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(1, 5):
        pixels = generator.integers(0, 500, (HEIGHT, WIDTH, channels)).astype(np.uint16)
        x, y = 8 * number, 4 * number
        pixels[y : y + 60, x : x + 70] += 3000
        (folder / f"{number}.tif").write_bytes(tiff_bytes(pixels, extra_samples=[0] * max(0, channels - 3)))
        images.append(dict(id=number, file_name=f"{number}.tif", height=HEIGHT, width=WIDTH))
        box = [x, y, x + 70, y, x + 70, y + 60, x, y + 60]
        annotations.append(dict(id=number, image_id=number, category_id=1, segmentation=[box]))
    categories = [dict(id=number, name=name) for number, name in enumerate("abc", 1)]
    (folder / "a.json").write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))


def full_config(folder: Path, channels: int, **load: Any) -> Path:
    """A config file that trains for two steps on the images."""
    first = dict(type="LoadImage", channels=channels, **(load or TWELVE_BITS))
    resize = dict(type="mmdet.Resize", scale=(128, 128), keep_ratio=True)
    flip = dict(type="mmdet.RandomFlip", prob=0.5)
    data = dict(type="CocoInstances", data_root=str(folder / "data"), ann_file="a.json")
    train_set = dict(**data, pipeline=[first, dict(type="LoadInstances"), resize, flip, dict(type="PackSample")])
    test_set = dict(**data, test_mode=True, pipeline=[first, resize, dict(type="PackSample")])
    loader = dict(batch_size=2, num_workers=0)
    path = folder / "config.py"
    path.write_text(
        f"""
default_scope = "solo"
model = {model_config(channels)}
train_dataloader = dict({loader}, sampler=dict(type="DefaultSampler", shuffle=True), dataset={train_set})
val_dataloader = dict({loader}, sampler=dict(type="DefaultSampler", shuffle=False), dataset={test_set})
test_dataloader = val_dataloader
val_evaluator = dict(type="CocoMaskMetric")
test_evaluator = val_evaluator
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=1, val_interval=1)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.001))
custom_hooks = [dict(type="ClassNamesHook")]
"""
    )
    return path


@pytest.mark.long
@pytest.mark.parametrize("channels", [1, 4, 6])
def test_from_the_file_to_the_first_convolution(tmp_path: Path, channels: int) -> None:
    if channels > 4:
        pytest.importorskip("tifffile")
    write_images(tmp_path / "data", channels)
    config = full_config(tmp_path, channels)
    runner = train(str(config), work_dir=str(tmp_path / "work"))
    first: Any = runner.model.backbone.conv1  # type: ignore[union-attr]
    assert (runner.iter, first.weight.shape[1]) == (2, channels)
    checkpoint = write_random_checkpoint(Config.fromfile(config), tmp_path / "weights.pth")
    results, shown = tmp_path / "results.json", tmp_path / "shown"
    run_test(str(config), str(checkpoint), work_dir=str(tmp_path / "t"), out=str(results), show_dir=str(shown))
    predictor = SOLOPredictor(str(config), str(checkpoint))
    path = tmp_path / "data" / "1.tif"
    found = predictor(str(path))
    tested = [entry for entry in json.loads(results.read_text()) if entry["image_id"] == 1]
    assert len(found) == len(tested) > 0
    np.testing.assert_allclose(found.scores, [entry["score"] for entry in tested], atol=1e-5)
    read = predictor.read_image(path)
    assert (read.shape, read.dtype) == ((HEIGHT, WIDTH, channels), np.uint8)
    assert read.max() > 180
    assert_same(predictor(read), found)
    drawn = cv2.imread(str(next(shown.iterdir())))
    assert drawn.max() > 180
    out = tmp_path / "out"
    words = ["--config", str(config), "--checkpoint", str(checkpoint), "--out-dir", str(out), "--score-thr", "0.05"]
    assert main(["predict", str(path), *words]) == 0
    assert len(json.loads((out / "predictions.json").read_text())["annotations"]) == len(found[found.scores >= 0.05])


def assert_same(found: Instances, expected: Instances) -> None:
    assert found.labels.tolist() == expected.labels.tolist()
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
    np.testing.assert_allclose(found.areas, expected.areas, atol=20)


@pytest.mark.long
@pytest.mark.parametrize(("channels", "load"), [(1, TWELVE_BITS), (4, dict(percentiles=(1, 99)))])
def test_an_exported_file_reads_images_alike(tmp_path: Path, channels: int, load: dict[str, Any]) -> None:
    pytest.importorskip("onnx", reason="needs solov2[onnx]")
    pytest.importorskip("onnxruntime", reason="needs solov2[onnx]")
    write_images(tmp_path / "data", channels)
    config = full_config(tmp_path, channels, **load)
    checkpoint = write_random_checkpoint(Config.fromfile(config), tmp_path / "weights.pth")
    target = tmp_path / "model.onnx"
    export_model(str(config), checkpoint, out=target, options=ExportOptions(format="onnx", contract="detections"))
    exported, predictor = SOLOPredictor(str(target)), SOLOPredictor(str(config), str(checkpoint))
    metadata = exported.model.metadata
    assert metadata.channels == channels
    assert {name: getattr(metadata, name) for name in load} == load
    path = tmp_path / "data" / "2.tif"
    np.testing.assert_array_equal(exported.read_image(path), predictor.read_image(path))
    assert_same(exported(str(path)), predictor(str(path)))


def test_other_numbers_of_channels_are_one_line(tmp_path: Path) -> None:
    write_images(tmp_path / "data", 4)
    config = full_config(tmp_path, 4)
    for override, value in (
        ("model.backbone.in_channels", 3),
        ("train_dataloader.dataset.pipeline.0.channels", 3),
        ("model.data_preprocessor", dict(type="ImagePreprocessor", mean=[0] * 3, std=[1] * 3)),
    ):
        changed = Config.fromfile(config)
        changed.merge_from_dict({override: value})
        with pytest.raises(ConfigError, match=r"same number of channels, got model\.data_preprocessor\.mean \d, model"):
            check_channels(changed)
    with pytest.raises(ConfigError, match=r"LoadImage of the train pipeline 4, LoadImage of the val pipeline 4"):
        train(str(config), work_dir=str(tmp_path / "work"), overrides={"model.backbone.in_channels": 3})


def test_a_file_of_too_few_channels_is_one_line(tmp_path: Path) -> None:
    write_images(tmp_path / "data", 3)
    config = full_config(tmp_path, 4)
    with pytest.raises(DataError, match=r"\.tif has 3 channels, expected 4"):
        train(str(config), work_dir=str(tmp_path / "work"))


def test_the_preprocessor_swaps_three_channels() -> None:
    from solo.models.preprocessor import ImagePreprocessor

    preprocessor = ImagePreprocessor(mean=[0, 0, 0, 0], std=[1, 1, 1, 1])
    image = torch.arange(4, dtype=torch.uint8)[:, None, None].expand(4, 32, 32)
    batch = preprocessor({"inputs": [image]})["inputs"]
    assert batch[0, :, 0, 0].tolist() == [2, 1, 0, 3]
    with pytest.raises(ValueError, match="an image has 3 channels"):
        preprocessor({"inputs": [image[:3]]})
    for options in (dict(mean=[0], std=[1]), dict(mean=[0] * 3, std=[1] * 2), dict(mean=[], std=[])):
        with pytest.raises(ValueError, match="one number for each channel"):
            ImagePreprocessor(**options)
