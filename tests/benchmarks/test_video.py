"""Stages of a video, on a model that takes no time."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.video import measure_stages, write_shapes_video
from solo.inference.predictor import SOLOPredictor
from tests.helpers.fakes import write_checkpoint, write_config


def test_stages(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "clip.mp4"
    write_shapes_video(path, frames=4, width=480, height=320)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.frames, stream.width, stream.height) == (4, 480, 320)
    predictor = SOLOPredictor(write_config(tmp_path), write_checkpoint(tmp_path / "weights.pth"), device="cpu")
    rates = measure_stages(path, predictor, score_thr=0.3)
    assert list(rates) == ["decode", "predict", "draw", "encode", "solo predict --save-video"]
    assert min(rates.values()) > 0
