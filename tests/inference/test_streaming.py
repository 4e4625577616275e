"""`predictor.stream` and `solo predict` on videos."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from solo.cli import main
from solo.errors import DataError
from solo.inference.instances import Instances
from solo.inference.predictor import SOLOPredictor
from solo.inference.sources import open_source
from solo.inference.streaming import predict_stream
from tests.helpers.fakes import SIDE, write_checkpoint, write_config
from tests.helpers.paths import ROOT
from tests.helpers.videos import gray_frames, number_of, write_video


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    config, checkpoint = write_config(tmp_path), write_checkpoint(tmp_path / "weights.pth")
    return ["--config", str(config), "--checkpoint", str(checkpoint), "--device", "cpu"]


@pytest.fixture
def predictor(options: list[str]) -> SOLOPredictor:
    return SOLOPredictor(options[1], options[3], device="cpu")


def test_frames_and_instances(predictor: SOLOPredictor, tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", gray_frames(5, size=(SIDE, SIDE)))
    for size in (1, 2, 8):
        found = list(predictor.stream(path, batch_size=size, vid_stride=2))
        assert [(frame.index, number_of(frame.image), len(objects)) for frame, objects in found] == [
            (0, 0, 1),
            (2, 2, 1),
            (4, 4, 1),
        ]
    assert [frame.name for frame, _ in predictor.stream([tmp_path / "data"])] == ["0", "1", "2", "3"]


def test_arguments(predictor: SOLOPredictor, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        predictor.stream("nowhere.mp4")
    with pytest.raises(ValueError, match="batch_size"):
        list(predictor.stream(tmp_path / "data", batch_size=0))


def test_one_image_that_cannot_be_predicted_costs_no_other_of_its_batch(tmp_path: Path) -> None:
    for level in range(4):
        cv2.imwrite(str(tmp_path / f"{level}.png"), np.full((4, 4, 3), level, np.uint8))

    def predict(images: object, batch_size: int = 1) -> object:
        if isinstance(images, list):
            return [predict(image) for image in images]
        if images[0, 0, 0] == 2:
            raise DataError("no size to resize to")
        return Instances(labels=[], scores=[], boxes=[], rles=[], image_size=(4, 4), classes=())

    source = open_source(tmp_path)
    names = [frame.name for frame, _ in predict_stream(predict, source, batch_size=3)]
    assert names == ["0", "1", "3"]
    assert source.report.skipped == [f"{tmp_path / '2.png'}: no size to resize to"]


def test_command_on_a_video_and_images(options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_video(tmp_path / "clip.mp4", gray_frames(6, size=(SIDE, SIDE)), rate=4)
    assert main(["predict", "data", "clip.mp4", *options, "--vid-stride", "3", "--batch-size", "2"]) == 0
    out = capsys.readouterr()
    assert out.out.startswith("6 images, 6 objects, ") and "images/s" in out.out
    assert out.err == "passed over in folders: 1 .json\n"
    content = json.loads(Path("predictions/predictions.json").read_text())
    assert [image.get("visualization") for image in content["images"]] == ["0.png", "1.png", "2.png", "3.png"] + [
        None
    ] * 2
    video = content["images"][-1]
    assert (video["file_name"], video["frame"], video["time"], video["width"]) == ("clip.mp4", 3, 0.75, SIDE)
    assert {path.suffix for path in Path("predictions").iterdir()} == {".png", ".json"}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.mp4", "nowhere.mp4: no such file or folder"),
        ("broken.mp4", "video broken.mp4 cannot be opened: Invalid data found"),
        ("empty", "empty: the folder holds no image or video"),
        (
            "http://127.0.0.1:9/stream?token=secret",
            "video http://127.0.0.1:9/stream cannot be opened: Conn",
        ),
        ("rtsp://me:secret@127.0.0.1:9/a", "video rtsp://127.0.0.1:9/a cannot be opened: Connection refused"),
        ("97", "camera 97 is missing, or another program uses it"),
    ],
)
def test_sources_that_are_not_there(
    options: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str], source: str, message: str
) -> None:
    pytest.importorskip("av")
    Path("broken.mp4").write_bytes(b"no video")
    Path("empty").mkdir()
    assert main(["predict", source, *options]) == 2
    error = capfd.readouterr().err
    assert error.startswith(f"error: {message}") and error.count("\n") == 1
    assert "secret" not in error
    assert not Path("predictions").exists()


def test_a_model_that_does_not_load_leaves_nothing(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("weights.pth").write_bytes(b"no checkpoint")
    write_video(tmp_path / "clip.mp4", gray_frames(2))
    assert main(["predict", "clip.mp4", *options]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not Path("predictions").exists()


def test_paths_on_stdin(options: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "solo", "predict", "-", *options],
        input="data/1.png\ndata/nowhere.png\n",
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1 images, 1 objects") and "1 could not be read" in done.stdout
    assert "data/nowhere.png" in done.stderr
