"""A scan of 20,000 x 20,000 pixels in bounded memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.model_metadata import model_metadata
from tests.helpers.onnx_files import write_detections

pytestmark = pytest.mark.long
tifffile = pytest.importorskip("tifffile", reason="needs solov2[bands]")
pytest.importorskip("onnx", reason="needs onnx")
pytest.importorskip("onnxruntime", reason="needs onnxruntime")

SIDE, SEGMENT = 20_000, 400
MEGABYTES = 350
"""More than an open model. The image has 1,200 MB as BGR bytes, one label map of it 400 MB."""

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


def test_a_scan_in_bounded_memory(tmp_path: Path) -> None:
    scan = tmp_path / "scan.tif"
    tifffile.imwrite(scan, segments(), shape=(SIDE, SIDE), dtype=np.uint8, tile=(SEGMENT, SEGMENT), compression="zlib")
    metadata = model_metadata(resize="none", resize_size=None)
    model = write_detections(tmp_path / "m.onnx", metadata=metadata, labels=(1, -1, -1))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(model), str(scan)], check=True, capture_output=True, text=True
    )
    report = json.loads(done.stdout)
    assert report["megabytes"] < MEGABYTES
    assert report["boxes"] == [[0, SEGMENT, SIDE, SIDE]]
    expected = (SEGMENT**2 - 200**2) * (SIDE // SEGMENT) * (SIDE // SEGMENT - 1)
    assert report["areas"][0] == pytest.approx(expected, rel=0.005)
