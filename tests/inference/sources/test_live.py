"""Cameras and streams: a local server sends motion JPEG as network cameras do, and breaks."""

from __future__ import annotations

import http.server
import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from solo.cli import main
from solo.errors import DataError
from solo.inference.sources import live, open_source
from solo.inference.sources.live import without_secrets
from tests.helpers.fakes import SIDE, write_checkpoint, write_config
from tests.helpers.videos import gray_frames, number_of

pytest.importorskip("av")
JPEGS = [cv2.imencode(".jpg", image)[1].tobytes() for image in gray_frames(30, size=(SIDE, SIDE))]


class Camera(http.server.ThreadingHTTPServer):
    """Each connection gets the next of `plans`: how many frames it sends before it breaks; further ones are refused."""

    def __init__(self, plans: list[int], *, pause: float = 0.0, damaged: int | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.plans = plans
        self.pause = pause
        self.damaged = damaged
        self.next_frame = 0
        self.url = f"http://user:secret@127.0.0.1:{self.server_port}/stream?token=secret"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Camera

    def do_GET(self) -> None:
        if not self.server.plans:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for _ in range(self.server.plans.pop(0)):
            index = self.server.next_frame
            content = JPEGS[index % len(JPEGS)]
            if index == self.server.damaged:
                content = content[:2] + bytes(len(content) - 4) + content[-2:]
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(content)}\r\n\r\n"
            self.wfile.write(head.encode() + content + b"\r\n")
            self.server.next_frame += 1
            time.sleep(self.server.pause)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def camera() -> Iterator[Camera]:
    with Camera([]) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "FIRST_PAUSE", 0.01)


def test_a_stream_that_breaks_is_opened_again_and_ends(camera: Camera) -> None:
    camera.plans, camera.pause = [8, 6, 7], 0.05
    source = open_source(camera.url, max_reconnects=3)
    source.connect()
    frames = list(source.frames())
    numbers = [number_of(frame.image) for frame in frames]
    assert numbers == sorted(numbers) and numbers[-1] == 20
    assert len(frames) + source.report.dropped == 21
    assert [frame.time for frame in frames] == sorted(frame.time for frame in frames)
    report = source.report
    assert report.reconnects == 2 + 3
    assert report.ended.startswith(f"video http://127.0.0.1:{camera.server_port}/stream cannot be opened")
    assert frames[0].path == f"http://127.0.0.1:{camera.server_port}/stream"
    assert frames[-1].name == f"127_0_0_1_{camera.server_port}_stream/000020"


def test_the_newest_frame_wins(camera: Camera) -> None:
    camera.plans, camera.pause = [30], 0.02
    source = open_source(camera.url, max_reconnects=0)
    numbers = []
    for frame in source.frames():
        numbers.append(number_of(frame.image))
        time.sleep(0.15)
    assert 2 <= len(numbers) < 20
    assert numbers == sorted(numbers) and numbers[-1] == 29
    assert source.report.dropped == 30 - len(numbers)


def test_a_damaged_frame_is_counted(camera: Camera) -> None:
    camera.plans, camera.pause, camera.damaged = [12], 0.02, 7
    source = open_source(camera.url, max_reconnects=0)
    numbers = [number_of(frame.image) for frame in source.frames()]
    assert 7 not in numbers and numbers[-1] == 11
    assert source.report.corrupt == 1


def test_an_endless_stream_can_be_left(camera: Camera) -> None:
    camera.plans, camera.pause = [10_000], 0.01
    source = open_source(camera.url)
    assert len(list(itertools.islice(source.frames(), 3))) == 3
    source.close()
    assert not source._reader._thread.is_alive()


def test_the_command_writes_what_the_stream_sent(
    camera: Camera, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(live, "MAX_RECONNECTS", 2)
    camera.plans, camera.pause = [5, 5], 0.02
    config, checkpoint = write_config(tmp_path), write_checkpoint(tmp_path / "weights.pth")
    words = ["--config", str(config), "--checkpoint", str(checkpoint), "--device", "cpu", "--save-video"]
    assert main(["predict", camera.url, *words]) == 0
    out = capsys.readouterr()
    assert "reconnects" in out.out and "ended: " in out.err
    assert "secret" not in out.out + out.err + Path("predictions/predictions.json").read_text()
    name = f"127_0_0_1_{camera.server_port}_stream.mp4"
    assert {path.name for path in Path("predictions").iterdir()} == {"predictions.json", name}


class FakeCapture:
    """Stands in for `cv2.VideoCapture`: a camera that breaks once."""

    opened = 0

    def __init__(self, index: int) -> None:
        FakeCapture.opened += 1
        self.is_there = FakeCapture.opened <= 2 and index == 3
        self.left = 4

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return self.is_there

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.left -= 1
        time.sleep(0.05)
        return (True, np.full((4, 6, 3), self.left, np.uint8)) if self.left >= 0 else (False, None)

    def release(self) -> None:
        pass


def test_a_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    FakeCapture.opened = 0
    source = open_source(3, max_reconnects=2, stride=2)
    source.connect()
    frames = list(source.frames())
    assert [(frame.name, frame.path) for frame in frames] == [
        (f"camera_3/{index:06d}", "camera 3") for index in (0, 2, 4, 6)
    ]
    assert source.report.reconnects == 3
    assert source.report.ended == "camera 3 is missing, or another program uses it"


def test_a_missing_camera(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match="camera 97 is missing"):
        open_source("97").connect()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://me:p@ss@host:554/a/b?x=1#y", "rtsp://host:554/a/b"),
        ("http://host/a@b", "http://host/a@b"),
        ("http://host?user=me@home", "http://host"),
    ],
)
def test_secrets_of_a_url_are_not_shown(url: str, shown: str) -> None:
    assert without_secrets(url) == shown
