"""The Python example of docs/deploy.md runs as it is printed."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.helpers.onnx_files import write_detections
from tests.helpers.pages import blocks
from tests.helpers.paths import ROOT


def test_the_example_prints_what_the_model_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnx", reason="needs onnx")
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    (example,) = (block for block in blocks(ROOT / "docs/deploy.md", "python") if 'SOLOPredictor("model.onnx"' in block)
    assert len(example.splitlines()) <= 20
    monkeypatch.chdir(tmp_path)
    write_detections(tmp_path / "model.onnx")
    for name in ("a.jpg", "b.jpg"):
        image = np.zeros((64, 96, 3), np.uint8)
        image[8:40, 8:48] = 255
        assert cv2.imwrite(name, image)
    exec(compile(example, "docs/deploy.md", "exec"), {})
    printed = capsys.readouterr().out
    assert printed.startswith("('ellipse', 'star') cpu")
    assert "a.jpg Instances(1 ellipse, 1 star; 64 x 96 pixels)" in printed
    assert "  star: [8.0, 8.0, 48.0, 40.0], " in printed
    assert (tmp_path / "b.jpg.json").is_file()
