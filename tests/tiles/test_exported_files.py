"""Exported files predict by tiles without torch, and are tested by tiles."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from solo import SOLOPredictor
from solo.cli import main
from tests.helpers.model_metadata import model_metadata
from tests.helpers.onnx_files import write_detections
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
