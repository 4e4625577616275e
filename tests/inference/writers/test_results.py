"""What `solo predict --save-...` leaves in its folder."""

from __future__ import annotations

import functools
import http.server
import json
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from solo.cli import main
from solo.errors import OutputError
from solo.inference.instances import Instances
from solo.inference.sources import Frame
from solo.inference.writers.files import class_folder
from solo.inference.writers.video import VideoWriter
from tests.helpers.fakes import SIDE, square_mask, write_checkpoint, write_config
from tests.helpers.videos import gray_frames, write_video

CHROMIUM = Path("/usr/bin/chromium")
ALL = ["--save-txt", "--save-masks", "--save-coco", "--save-labelme", "--save-crops"]


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    config, checkpoint = write_config(tmp_path), write_checkpoint(tmp_path / "weights.pth")
    return ["--config", str(config), "--checkpoint", str(checkpoint), "--device", "cpu", "--out-dir", "out"]


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_results_of_images(options: list[str]) -> None:
    assert main(["predict", "data/0.png", "data/1.png", *options, *ALL]) == 0
    out = Path("out")
    assert files_of(out) == {
        *("0.png", "1.png", "predictions.json", "coco.json", "classes.txt", "labels/0.txt", "labels/1.txt"),
        *("masks/0.png", "masks/1.png", "labelme/0.json", "labelme/1.json"),
        *("crops/bright/0_0001.png", "crops/bright/1_0001.png"),
    }
    assert (out / "classes.txt").read_text() == "dark\nbright\n"
    assert (out / "labels/0.txt").read_text() == "1 0.125 0.125 0.625 0.125 0.625 0.625 0.125 0.625\n"
    labels = cv2.imread(str(out / "masks/0.png"), cv2.IMREAD_UNCHANGED)
    assert labels.dtype == np.uint16
    np.testing.assert_array_equal(labels, square_mask())
    crop = cv2.imread(str(out / "crops/bright/0_0001.png"), cv2.IMREAD_UNCHANGED)
    assert crop.shape == (16, 16, 4) and (crop[..., 3] == 255).all()
    labelme = json.loads((out / "labelme/0.json").read_text())
    assert (out / "labelme" / labelme["imagePath"]).samefile("data/0.png")


@pytest.mark.parametrize("extra", [[], ["--polygons"]])
def test_the_coco_file_is_a_ground_truth(options: list[str], extra: list[str]) -> None:
    assert main(["predict", "data", *options, "--save-coco", *extra]) == 0
    truth = COCO("out/coco.json")
    assert [image["file_name"] for image in truth.dataset["images"]] == [f"{index}.png" for index in range(4)]
    for annotation in truth.dataset["annotations"]:
        assert (annotation["area"], annotation["iscrowd"], annotation["bbox"]) == (256, 0, [4, 4, 16, 16])
        assert isinstance(annotation["segmentation"], list) == bool(extra)
        np.testing.assert_array_equal(truth.annToMask(annotation), square_mask())
    assert [category["name"] for category in truth.dataset["categories"]] == ["dark", "bright"]
    evaluation = COCOeval(truth, truth.loadRes(truth.dataset["annotations"]), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0)


def test_results_of_a_video(options: list[str]) -> None:
    write_video(Path("clip.mp4"), gray_frames(3, size=(SIDE, SIDE)))
    assert main(["predict", "clip.mp4", *options, *ALL, "--save-video"]) == 0
    out = Path("out")
    names = {f"clip/{index:06d}" for index in range(3)}
    assert files_of(out) == {
        *("predictions.json", "coco.json", "classes.txt", "clip.mp4"),
        *(f"{folder}/{name}{suffix}" for name in names for folder, suffix in (("labels", ".txt"), ("masks", ".png"))),
        *(f"labelme/{name}.json" for name in names),
        *(f"crops/bright/{name}_0001.png" for name in names),
    }
    labelme = json.loads((out / "labelme/clip/000001.json").read_text())
    assert labelme["imageData"] and labelme["imageHeight"] == SIDE


def test_other_files_are_never_replaced(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(["predict", "data/0.png", *options, *ALL])
    for option, name in zip(ALL, ("labels", "masks", "coco.json", "labelme", "crops"), strict=True):
        capsys.readouterr()
        assert main(["predict", "data/0.png", *options, option]) == 2
        error = capsys.readouterr().err
        assert f"out/{name}" in error and "--overwrite" in error and error.count("\n") == 1
    assert main(["predict", "data/0.png", *options, *ALL, "--overwrite"]) == 0
    # An image in a folder of results would be replaced.
    Path("out/masks/0.png").write_bytes(Path("data/0.png").read_bytes())
    assert main(["predict", "out/masks/0.png", *options, "--save-masks", "--overwrite"]) == 2
    assert Path("out/masks/0.png").read_bytes() == Path("data/0.png").read_bytes()


def test_a_video_in_the_output_folder_is_not_replaced(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("out").mkdir()
    before = write_video(Path("out/clip.mp4"), gray_frames(2, size=(SIDE, SIDE))).read_bytes()
    assert main(["predict", "out/clip.mp4", *options, "--save-video", "--overwrite"]) == 2
    assert "is a file that this command reads" in capsys.readouterr().err
    assert Path("out/clip.mp4").read_bytes() == before


def test_what_a_format_cannot_hold_is_said(
    options: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from solo.inference.checkpoint_model import CheckpointModel
    from solo.masks.rle import encode_masks

    hollow = square_mask()
    hollow[8:10, 8:10] = False
    found = Instances(
        labels=[0],
        scores=[0.9],
        boxes=[[4, 4, 20, 20]],
        rles=encode_masks(hollow[None]),
        image_size=(SIDE, SIDE),
        classes=("dark", "bright"),
    )
    monkeypatch.setattr(CheckpointModel, "predict", lambda self, images, **_: [found] * len(images))
    assert main(["predict", "data", *options, *ALL, "--polygons"]) == 0
    error = capsys.readouterr().err
    assert "labels cannot hold all: 4 holes filled\n" in error
    assert "coco.json cannot hold all: 4 holes filled\n" in error
    assert "masks" not in error and "labelme" not in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--polygons"], "--polygons changes --save-coco"),
        (["--simplify", "2"], "--simplify changes polygons"),
        (["--save-video"], "--save-video: data holds no video"),
    ],
)
def test_options_without_effect(
    options: list[str], capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["predict", "data", *options, *words]) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")
    assert not Path("out").exists()


def test_no_display(options: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    assert main(["predict", "data", *options, "--show"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --show needs ") and error.count("\n") == 1
    assert not Path("out").exists()


def test_the_window_ends_the_prediction(options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for tkinter, whose user presses q at the second frame."""
    keys, shown = {}, []

    class Root:
        def bind(self, key: str, action: object) -> None:
            keys[key] = action

        def update(self) -> None:
            if len(shown) == 2:
                keys["q"](None)

        def __getattr__(self, name: str) -> object:
            return lambda *arguments: 16 if name.startswith("winfo") else None

    label = SimpleNamespace(pack=lambda: None, configure=lambda image: shown.append(image))
    stand_in = SimpleNamespace(
        Tk=Root, TclError=RuntimeError, Label=lambda root: label, PhotoImage=lambda data, format: data
    )
    monkeypatch.setitem(sys.modules, "tkinter", stand_in)
    assert main(["predict", "data", *options, "--show"]) == 0
    assert len(shown) == 2
    assert shown[0].startswith(b"P6\n14 14\n")  # within 0.9 of a screen of 16 pixels
    assert len(json.loads(Path("out/predictions.json").read_text())["images"]) == 2


def test_folders_of_classes() -> None:
    classes = ("person", "../etc", "a b", "a_b", "", "日本")
    names = [class_folder(classes, label) for label in range(len(classes))]
    assert names == ["person", "etc", "a_b_2", "a_b_3", "class", "日本"]


def frame(index: int, *, size: tuple[int, int] = (401, 333), time: float | None = None) -> Frame:
    image = np.full((*size, 3), 10 * index, np.uint8)
    seconds = index / 10 if time is None else time
    return Frame(image=image, index=index, time=seconds, path="clip.mp4", name=f"clip/{index:06d}")


def nothing(size: tuple[int, int] = (401, 333)) -> Instances:
    return Instances(labels=[], scores=[], boxes=[], rles=[], image_size=size, classes=())


def test_a_video_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    writer = VideoWriter(tmp_path)
    for index in range(5):
        writer.write(frame(index), nothing())
        assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == []
    writer.write(frame(5, size=(100, 700), time=0.9), nothing((100, 700)))  # a stream that came back in another size
    writer.close()
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
    content = (tmp_path / "clip.mp4").read_bytes()
    assert 0 < content.find(b"moov") < content.find(b"mdat")
    with av.open(str(tmp_path / "clip.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        decoded = list(container.decode(stream))
    assert [image.time for image in decoded] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.9], abs=1e-4)
    assert (decoded[0].height, decoded[0].width) == (402, 334)
    assert [round(image.to_ndarray(format="bgr24").mean() / 10) for image in decoded] == list(range(6))
    with pytest.raises(OutputError, match="--overwrite"):
        VideoWriter(tmp_path).write(frame(0), nothing())


@pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's chromium, whose FFmpeg decodes H.264")
def test_a_browser_plays_the_video(tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    pytest.importorskip("av")
    writer = VideoWriter(tmp_path)
    for index in range(20):
        writer.write(frame(index), nothing())
    writer.close()
    (tmp_path / "index.html").write_text("<video src='clip.mp4' muted></video>")
    handler = functools.partial(_Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with playwright.sync_playwright() as driver:
                browser = driver.chromium.launch(executable_path=str(CHROMIUM))
                page = browser.new_page()
                page.goto(f"http://127.0.0.1:{server.server_port}/index.html")
                state = page.evaluate(
                    """async () => {
                        const video = document.querySelector("video");
                        await video.play();
                        await new Promise(done => video.onended = done);
                        const canvas = document.createElement("canvas");
                        const context = canvas.getContext("2d");
                        context.drawImage(video, 0, 0);
                        const [gray] = context.getImageData(20, 20, 1, 1).data;
                        return [video.videoWidth, video.videoHeight, video.currentTime, gray];
                    }"""
                )
                browser.close()
        finally:
            server.shutdown()
    assert state[:2] == [334, 402]
    assert state[2] == pytest.approx(2.0, abs=0.1)
    assert abs(state[3] - 190) < 5  # the last frame


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass
