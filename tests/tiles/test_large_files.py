"""Files that are read by windows: a scan of 20,000 x 20,000 pixels in bounded memory, and what the command writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.helpers.model_metadata import model_metadata
from tests.helpers.onnx_files import write_detections
from tests.helpers.paths import ROOT

tifffile = pytest.importorskip("tifffile", reason="needs solov2[bands]")
pytest.importorskip("onnx", reason="needs onnx")
pytest.importorskip("onnxruntime", reason="needs onnxruntime")

SIDE, SEGMENT = 20_000, 400
MEGABYTES = 350
"""More than an open model. The image has 1,200 MB as BGR bytes, one label map of it 400 MB."""

COMMAND_PROGRAM = """
import resource, sys
from solo.cli.running import run_command
from solo.runtime.__main__ import main

start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
code = run_command(main)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) / 1024)
sys.exit(code)
"""
PROGRAM = """
import json, resource, sys
from solo import SOLOPredictor

predictor = SOLOPredictor(sys.argv[1])
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = predictor(sys.argv[2], tile=1024, overlap=0.2)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps(dict(megabytes=(peak - start) / 1024, areas=found.areas.tolist(), boxes=found.boxes.tolist())))
"""


def segments() -> Iterator[np.ndarray]:
    """A frame of 100 pixels in every segment but those of the first row: one object, as all frames touch."""
    frame = np.full((SEGMENT, SEGMENT), 255, np.uint8)
    frame[100:-100, 100:-100] = 0
    for index in range((SIDE // SEGMENT) ** 2):
        yield frame if index >= SIDE // SEGMENT else np.zeros_like(frame)


def write_model_and_scan(folder: Path) -> tuple[Path, Path]:
    scan = folder / "scan.tif"
    tifffile.imwrite(scan, segments(), shape=(SIDE, SIDE), dtype=np.uint8, tile=(SEGMENT, SEGMENT), compression="zlib")
    metadata = model_metadata(resize="none", resize_size=None)
    return write_detections(folder / "m.onnx", metadata=metadata, labels=(1, -1, -1)), scan


@pytest.mark.long
def test_a_scan_in_bounded_memory(tmp_path: Path) -> None:
    model, scan = write_model_and_scan(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(model), str(scan)], check=True, capture_output=True, text=True
    )
    report = json.loads(done.stdout)
    assert report["megabytes"] < MEGABYTES
    assert report["boxes"] == [[0, SEGMENT, SIDE, SIDE]]
    expected = (SEGMENT**2 - 200**2) * (SIDE // SEGMENT) * (SIDE // SEGMENT - 1)
    assert report["areas"][0] == pytest.approx(expected, rel=0.005)


@pytest.mark.long
def test_the_command_in_bounded_memory(tmp_path: Path) -> None:
    model, scan = write_model_and_scan(tmp_path)
    words = [str(model), str(scan), "--tile", "1024", "--out-dir", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", COMMAND_PROGRAM, *words], check=True, capture_output=True, text=True)
    assert float(done.stdout.splitlines()[-1]) < MEGABYTES
    assert done.stderr == "not drawn: 1 of more than 134217728 pixels, read by windows\n"
    content = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [each["bbox"] for each in content["annotations"]] == [[0, SEGMENT, SIDE, SIDE - SEGMENT]]


def predict(model: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Predict the folder, where files of more than 10,000 pixels are large."""
    return subprocess.run(
        [sys.executable, "-m", "solo.runtime", str(model), "images", *words],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENCV_IO_MAX_IMAGE_PIXELS": "10000"},
    )


def test_the_command_reads_large_files_by_windows(tmp_path: Path) -> None:
    """A large and a small file in one batch; of the large one nothing is drawn or cut out, and both are counted."""
    (tmp_path / "images").mkdir()
    pixels = np.zeros((160, 240), np.uint8)
    pixels[32:132, 40:200] = 255
    tifffile.imwrite(tmp_path / "images" / "large.tif", pixels, tile=(64, 64))
    tifffile.imwrite(tmp_path / "images" / "small.tif", pixels[:80, :80])
    metadata = model_metadata(resize="none", resize_size=None)
    model = write_detections(tmp_path / "m.onnx", metadata=metadata, labels=(1, -1, -1))
    done = predict(model, tmp_path, "--tile", "64", "--batch-size", "2", "--save-masks", "--save-crops")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [
        "crops cannot hold all: 1 objects of images that are read by windows",
        "not drawn: 1 of more than 10000 pixels, read by windows",
    ]
    content = json.loads((tmp_path / "predictions" / "predictions.json").read_text())
    assert [image.get("visualization") for image in content["images"]] == [None, "small.png"]
    assert [each["bbox"] for each in content["annotations"]] == [[40, 32, 160, 100], [40, 32, 40, 48]]
    assert (cv2.imread(str(tmp_path / "predictions" / "masks" / "large.png"), -1) > 0).sum() == content["annotations"][
        0
    ]["area"]
    assert [path.name for path in (tmp_path / "predictions" / "crops").glob("*/*")] == ["small_0001.png"]
    done = predict(model, tmp_path, "--overwrite")
    assert "large.tif cannot be read: it has 240 x 160 pixels, more than 10000" in done.stderr
    assert "1 images" in done.stdout and "--tile" in done.stderr
