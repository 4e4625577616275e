"""benchmarks/startup.py: sizes of installations and times of processes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.startup import INSTALLATIONS, installed_sizes, time_starts
from tests.helpers.onnx_files import write_detections


def test_an_installation_without_torch_is_the_smaller_one() -> None:
    small = installed_sizes(("numpy", "opencv-python-headless"))
    large = installed_sizes(INSTALLATIONS["solov2 with torch"])
    assert {"numpy", "opencv-python-headless"} <= small.keys() <= large.keys()
    assert "mmdet" in large and "tensorboard" in large
    assert 10**7 < sum(small.values()) < sum(large.values()) / 3
    assert installed_sizes(("no-such-distribution",)) == {}


def test_processes_are_timed(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="needs onnx")
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    model = write_detections(tmp_path / "m.onnx")
    assert cv2.imwrite(str(tmp_path / "a.png"), np.zeros((64, 64, 3), np.uint8))
    seconds = time_starts(str(tmp_path / "a.png"), [[str(model)]], repetitions=2)
    assert len(seconds[0]) == 2 and all(0 < each < 60 for each in seconds[0])
