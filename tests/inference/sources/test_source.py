"""What the words of a command line name, and what is predicted of it."""

from __future__ import annotations

import io
import itertools
import os
import sys
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from solo.errors import DataError
from solo.inference.sources import Source, open_source
from solo.inference.sources.paths import describe_suffixes, find_images
from tests.helpers.paths import ROOT
from tests.helpers.videos import gray_frames, number_of, write_video

ODD_IMAGES = ROOT.parent / "shared" / "cases" / "odd_images"


def touch(*names: str) -> None:
    for path in map(Path, names):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_image(path: Path, level: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((4, 6, 3), level, np.uint8))
    return path


def paths_of(source: Source) -> list[str]:
    return [frame.path for frame in source.frames()]


@pytest.mark.usefixtures("folder")
def test_find_images() -> None:
    touch("a/2.jpg", "a/1.PNG", "a/notes.txt", "a/deep/3.jpg", "b.weird")
    assert find_images(["a"]) == [Path("a/1.PNG"), Path("a/2.jpg")]
    assert find_images(["b.weird", "a/*.jpg", "a"]) == [Path("b.weird"), Path("a/2.jpg"), Path("a/1.PNG")]
    assert find_images([os.path.join("a", "**", "*.jpg")]) == [Path("a/2.jpg"), Path("a/deep/3.jpg")]


@pytest.mark.parametrize("entry", ["nowhere.jpg", "empty", "*.gif", "empty.txt"])
def test_input_without_images_is_named(folder: Path, entry: str) -> None:
    (folder / "empty").mkdir()
    touch("empty.txt")
    with pytest.raises(DataError, match=entry.replace("*", r"\*")):
        open_source(entry)


@pytest.mark.usefixtures("folder")
def test_a_folder_without_images_says_what_it_holds() -> None:
    touch("deep/1.jpg", "notes.docx", "a.docx")
    with pytest.raises(DataError, match=r"2 \.docx; .*quoted pattern: '\./\*\*/\*\.png'"):
        open_source(".")


def test_other_files_of_a_folder_are_counted(folder: Path) -> None:
    write_image(folder / "in" / "a.png")
    touch("in/a.json", "in/b.json", "in/README", "in/deep/x.json")
    source = open_source(["in"])
    assert source.report.passed_over == {".json": 2, "": 1}
    assert describe_suffixes(source.report.passed_over) == "2 .json, 1 without a suffix"
    assert describe_suffixes(Counter({f".{letter}": 1 for letter in "abcdefg"})).endswith(".e, 2 others")


@pytest.mark.parametrize("suffix", [".gif", ".avif", ".pnm", ".jpe", ".dib", ".webp", ".tiff"])
def test_what_opencv_decodes_is_taken_from_folders(folder: Path, suffix: str) -> None:
    write_image(folder / f"a{suffix}", 200)
    (frame,) = open_source(str(folder)).frames()
    assert frame.image.shape == (4, 6, 3)
    assert abs(float(frame.image.mean()) - 200) < 4


@pytest.mark.skipif(not ODD_IMAGES.is_dir(), reason="needs ../shared/cases")
def test_odd_images_as_a_folder() -> None:
    source = open_source(str(ODD_IMAGES))
    assert [Path(path).name for path in paths_of(source)] == sorted(path.name for path in ODD_IMAGES.iterdir())
    assert not source.report.skipped


def test_lists_of_paths(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [write_image(folder / "lists" / name) for name in ("a.png", "b [1].png")]
    text = f"a.png\n\nb [1].png\r\nmissing.png\n{images[0].resolve()}\n"
    Path("lists/all.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())
    source = open_source("lists/all.txt")
    assert paths_of(source) == ["lists/a.png", "lists/b [1].png", str(images[0].resolve())]
    assert len(source.report.skipped) == 1 and "missing.png" in source.report.skipped[0]
    assert Path("lists/all.txt") in source.files
    monkeypatch.setattr(sys, "stdin", io.StringIO("lists/a.png\nlists/b [1].png\n"))
    assert paths_of(open_source("-")) == ["lists/a.png", "lists/b [1].png"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    with pytest.raises(DataError, match="standard input holds no path"):
        open_source(["-"])


def test_names_of_results_are_unique(folder: Path) -> None:
    for name in ("a/0.png", "b/0.png", "c/0_2.png", "c/0.jpg"):
        write_image(folder / name)
    names = [frame.name for frame in open_source(["a", "b", "c"]).frames()]
    assert names == ["0", "0_2", "0_3", "0_2_2"]


def test_names_of_many_files_of_one_name_take_linear_time() -> None:
    start = time.process_time()
    names = Source.from_images([Path(f"{index}/image.jpg") for index in range(100_000)]).image_names
    assert len(set(names)) == 100_000
    assert time.process_time() - start < 5  # a quadratic search takes hours


def test_frames_of_a_video(folder: Path) -> None:
    path = write_video(folder / "clip.mp4", gray_frames(12), rate=4)
    source = open_source(path)
    source.connect()
    assert source.length() == 12
    assert source.has_video and not source.is_live
    frames = list(source.frames())
    assert [number_of(frame.image) for frame in frames] == list(range(12))
    assert [frame.time for frame in frames] == pytest.approx([index / 4 for index in range(12)])
    assert (frames[3].name, frames[3].path, frames[3].sequence) == ("clip/000003", str(path), "clip")
    assert source.report.corrupt == 0


def test_every_nth_frame(folder: Path) -> None:
    source = open_source(write_video(folder / "clip.mp4", gray_frames(10)), stride=4)
    source.connect()
    assert source.length() == 3
    assert [(frame.index, number_of(frame.image)) for frame in source.frames()] == [(0, 0), (4, 4), (8, 8)]


def test_images_and_videos_of_one_folder(folder: Path) -> None:
    write_image(folder / "in" / "a.png")
    write_video(folder / "in" / "b.mp4", gray_frames(2))
    write_video(folder / "in" / "b.avi", gray_frames(2), codec="mjpeg")
    write_image(folder / "in" / "c.png")
    source = open_source("in")
    names = ["a", "b/000000", "b/000001", "b_2/000000", "b_2/000001", "c"]
    assert [frame.name for frame in source.frames()] == names
    assert source.image_names == ["a", "c"]


def test_bytes_damaged_in_the_middle_cost_only_their_frames(folder: Path) -> None:
    path = write_video(folder / "clip.avi", gray_frames(20, size=(128, 128)), codec="mjpeg")
    content = bytearray(path.read_bytes())
    starts = [index for index in range(len(content)) if content[index : index + 2] == b"\xff\xd8"]
    content[starts[7] : starts[8] - 16] = bytes(starts[8] - 16 - starts[7])
    path.write_bytes(content)
    source = open_source(path)
    numbers = [number_of(frame.image) for frame in source.frames()]
    assert numbers == [*range(7), *range(8, 20)]
    assert source.report.corrupt == 1


def test_a_truncated_video_gives_what_is_there(folder: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 16, (48, 64, 1)) - 8
    path = write_video(folder / "clip.ts", [(image + noise).clip(0, 255).astype("u1") for image in gray_frames(20)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    numbers = [number_of(frame.image) for frame in open_source(path).frames()]
    assert 5 < len(numbers) < 20
    assert numbers == sorted(numbers)


@pytest.mark.parametrize("content", [b"", b"no video", bytes(5000)])
def test_a_file_that_is_no_video(folder: Path, capfd: pytest.CaptureFixture[str], content: bytes) -> None:
    pytest.importorskip("av")
    (folder / "clip.mp4").write_bytes(content)
    source = open_source("clip.mp4")
    with pytest.raises(DataError, match=r"video clip\.mp4 (cannot be opened|holds no video)"):
        source.connect()
    assert capfd.readouterr().err == ""
    write_image(folder / "a.png")
    both = open_source(["clip.mp4", "a.png"])
    both.connect()
    assert paths_of(both) == ["a.png"]
    assert "clip.mp4" in both.report.skipped[0]


def test_a_video_without_pictures_and_one_of_an_unknown_codec(folder: Path) -> None:
    av = pytest.importorskip("av")
    with av.open("sound.mp4", "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(DataError, match=r"sound\.mp4 holds no video stream"):
        open_source("sound.mp4").connect()
    path = write_video(folder / "clip.avi", gray_frames(3), codec="mjpeg")
    path.write_bytes(path.read_bytes().replace(b"MJPG", b"ZZZ9"))
    with pytest.raises(DataError, match=r"clip\.avi has a codec that .* cannot decode"):
        open_source("clip.avi").connect()


def test_pyav_is_optional(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(folder / "in" / "a.png")
    touch("in/clip.mp4")
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr("solo.inference.sources.paths.find_spec", lambda name: None)
    source = open_source("in")
    assert paths_of(source) == ["in/a.png"]
    assert source.report.passed_over == {".mp4": 1}
    with pytest.raises(DataError, match=r"in/clip\.mp4: videos need PyAV: pip install 'solov2\[video\]'"):
        open_source("in/clip.mp4").connect()


def test_decoded_frames_do_not_pile_up(folder: Path) -> None:
    source = open_source(write_video(folder / "clip.mp4", gray_frames(60)))
    decoded: list[int] = []
    part = source.parts[0]
    original = part.frames

    def counting(report: object) -> object:
        for frame in original(report):
            decoded.append(frame.index)
            yield frame

    part.frames = counting
    frames = source.frames(depth=3)
    assert [frame.index for frame in itertools.islice(frames, 2)] == [0, 1]
    time.sleep(0.3)
    assert len(decoded) <= 2 + 3 + 1
    frames.close()
    assert not source._reader._thread.is_alive()


@pytest.mark.parametrize("entries", [["0", "a.png"], ["rtsp://camera/1", "rtsp://camera/2"], [0, 1]])
def test_a_live_source_stands_alone(entries: list[str | int]) -> None:
    with pytest.raises(DataError, match="has to be the only source"):
        open_source(entries)


def test_stride_below_one() -> None:
    with pytest.raises(ValueError, match="stride"):
        open_source("0", stride=0)
