"""Exported files predict by tiles without torch, and are tested by tiles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from solo import SOLOPredictor
from solo.cli import main
from solo.deployment import DeploymentOptions
from solo.errors import ExportedModelError, ExportError
from solo.export import ExportOptions, export_model
from solo.runtime.metadata import ModelMetadata
from solo.tiles import Tiles
from tests.helpers.exported import export_config, write_random_checkpoint
from tests.helpers.model_metadata import model_metadata
from tests.helpers.onnx_files import write_detections
from tests.helpers.tiny_model import tiny_config
from tests.tiles.scenes import rectangle

pytest.importorskip("onnx", reason="needs onnx")
pytest.importorskip("onnxruntime", reason="needs onnxruntime")


def bright(mask: np.ndarray) -> np.ndarray:
    """An image whose red channel is the mask, which the graph returns as an object."""
    return np.stack([np.zeros_like(mask), np.zeros_like(mask), mask], axis=-1).astype(np.uint8) * 255


@pytest.mark.parametrize("fixed", [None, (64, 64)])
def test_an_object_across_tiles_is_whole(tmp_path: Path, fixed: tuple[int, int] | None) -> None:
    metadata = model_metadata(input_size=fixed, resize="none", resize_size=None)
    predictor = SOLOPredictor(write_detections(tmp_path / "m.onnx", metadata=metadata))
    mask = rectangle(120, 200, x1=8, y1=16, x2=180, y2=96)
    found = predictor(bright(mask), tile=64, overlap=0.25)
    assert found.image_size == (120, 200)
    assert (found.to_bool()[0] != mask).sum() <= 8  # corners, which interpolation rounds


def test_the_command_predicts_by_tiles(tmp_path: Path) -> None:
    model = write_detections(tmp_path / "m.onnx", metadata=model_metadata(resize="none", resize_size=None))
    cv2.imwrite(str(tmp_path / "a.png"), bright(rectangle(120, 200, x1=8, y1=16, x2=180, y2=96)))
    words = ["predict", str(tmp_path / "a.png"), "--checkpoint", str(model), "--out-dir", str(tmp_path / "out")]
    assert main([*words, "--tile", "64", "--overlap", "0.25", "--tile-scale", "1.0"]) == 0
    (object_,) = [
        each
        for each in json.loads((tmp_path / "out" / "predictions.json").read_text())["annotations"]
        if each["category_id"] == 2
    ]
    assert object_["bbox"] == [8, 16, 172, 80]


def test_a_file_has_the_tiles_of_its_config(tmp_path: Path) -> None:
    tiles = Tiles(size=64, overlap=0.25, scale=(200, 120))
    metadata = model_metadata(resize="none", resize_size=None, tiles=tiles)
    predictor = SOLOPredictor(write_detections(tmp_path / "m.onnx", metadata=metadata))
    assert predictor.tiles == tiles
    image = bright(rectangle(120, 200, x1=8, y1=16, x2=180, y2=96))
    assert predictor(image).rles == predictor(image, tile=64, overlap=0.25).rles
    assert ModelMetadata.from_json(metadata.to_json()) == metadata


@pytest.mark.parametrize("values", [dict(size=64), [], dict(size=0, overlap=0.2, scale=1.0, batch_size=1)])
def test_wrong_tiles_in_a_file_are_refused(values: Any) -> None:
    content = {**json.loads(model_metadata().to_json()), "tiles": values}
    with pytest.raises(ExportedModelError, match=r"tiles"):
        ModelMetadata.from_json(json.dumps(content))


@pytest.mark.long
def test_an_export_keeps_the_tiles_of_the_config(tmp_path: Path) -> None:
    """They stay beside the Resize step, which is for whole images, and the file finds what the checkpoint finds."""
    tiles = dict(size=64, overlap=0.25, scale=1.5, batch_size=4)
    config = export_config(
        {**tiny_config(), "tiles": tiles}, dict(type="mmdet.Resize", scale=(128, 128), keep_ratio=True)
    )
    weights = write_random_checkpoint(config, tmp_path / "weights.pth")
    with pytest.raises(ExportError, match="tiles of 64 pixels, more than the input"):
        export_model(config, weights, options=ExportOptions(size=(32, 32)), out=tmp_path / "small.onnx")
    model = SOLOPredictor(export_model(config, weights, options=ExportOptions(contract="raw"), out=tmp_path / "m.onnx"))
    assert model.tiles == Tiles(**tiles)
    image = np.random.default_rng(0).integers(0, 256, (96, 150, 3), dtype=np.uint8)
    expected = SOLOPredictor(config, weights, device="cpu", deployment=DeploymentOptions())(image)
    found = model(image)
    assert len(found) == len(expected)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-3)
    different = found.to_bool() != expected.to_bool()
    assert different.mean() < 0.002
