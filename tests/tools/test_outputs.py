"""What the commands write: nothing is lost when they are stopped, and no file that they read or did not write."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from solo.inference.sources import open_source
from tests.helpers.commands import ap_table, finish, run_tool, start_tool, wait_for
from tests.helpers.fakes import write_checkpoint, write_config
from tests.helpers.videos import gray_frames, write_video


@pytest.fixture
def model(tmp_path: Path) -> tuple[Path, Path]:
    """Config and checkpoint."""
    return write_config(tmp_path), write_checkpoint(tmp_path / "weights.pth")


@pytest.mark.long
def test_out_of_a_test_is_no_file_that_exists(model: tuple[Path, Path], tmp_path: Path) -> None:
    config, checkpoint = model
    annotations = next((tmp_path / "data").glob("*.json"), None)
    for path in filter(None, (checkpoint, config, annotations)):
        before = path.read_bytes()
        done = run_tool("test.py", config, checkpoint, "--out", path, folder=tmp_path)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert done.stderr.startswith(f"error: {path} ")
        assert path.read_bytes() == before
    done = run_tool("test.py", config, checkpoint, "--out", checkpoint, "--overwrite", folder=tmp_path)
    assert "is a file that this command reads" in done.stderr


@pytest.mark.long
@pytest.mark.timeout(400)
def test_nothing_that_a_command_reads_is_replaced_even_with_overwrite(model: tuple[Path, Path], tmp_path: Path) -> None:
    """Config, base config and checkpoint, each in the place of a result."""
    base, checkpoint = model
    heir, results = tmp_path / "heir.py", tmp_path / "results"
    heir.write_text("_base_ = './config.py'\n".replace("config.py", base.name))
    results.mkdir()
    image = tmp_path / "data" / "0.png"
    for read in (heir, base, checkpoint):
        before = read.read_bytes()
        predict = ("predict.py", image, "--config", heir, "--checkpoint", checkpoint, "--out-dir", results)
        convert = ("convert_checkpoint.py", checkpoint, read, "--config", heir)
        for command, name in ((predict, "predictions.json"), (predict, "0.png"), (convert, None)):
            if name:
                (results / name).hardlink_to(read)
            done = run_tool(*command, "--overwrite", folder=tmp_path)
            assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
            assert "is a file that this command reads" in done.stderr
            assert read.read_bytes() == before
            if name:
                (results / name).unlink()
    done = run_tool("test.py", heir, checkpoint, "--out", base, "--overwrite", folder=tmp_path)
    assert "is a file that this command reads" in done.stderr


@pytest.mark.long
def test_data_of_a_test_is_not_replaced_and_the_refusal_comes_before_the_test(
    model: tuple[Path, Path], tmp_path: Path
) -> None:
    images = tmp_path / "data"
    for read in (images / "0.png", next(path for path in tmp_path.rglob("*.json") if "work_dirs" not in path.parts)):
        before = read.read_bytes()
        done = run_tool("test.py", *model, "--out", read, "--overwrite", folder=tmp_path)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert f"{read} is a file that this command reads" in done.stderr
        assert not ap_table(done.stdout)
        assert read.read_bytes() == before


def test_a_full_disk_costs_no_ap_table(model: tuple[Path, Path], tmp_path: Path) -> None:
    done = run_tool("test.py", *model, "--out", "/dev/full", folder=tmp_path)
    assert len(ap_table(done.stdout)) == 2
    assert (done.returncode, done.stderr) == (2, "error: /dev/full cannot be written: No space left on device\n")


ESCAPES = "\x1b]0;title\x07\u202e"


def test_odd_names_cost_no_result_and_reach_the_terminal_escaped(model: tuple[Path, Path], tmp_path: Path) -> None:
    """Names of files that are not UTF-8 or as long as names can be, and of classes that no text file can hold."""
    config, image = model[0], (tmp_path / "data" / "0.png").read_bytes()
    names = [os.fsdecode(b"odd\xff.png"), f"{'x' * 251}.png", f"deep/{'x' * 251}.png", f"escapes{ESCAPES}.png"]
    (tmp_path / "odd" / "deep").mkdir(parents=True)
    for name in names:
        (tmp_path / "odd" / name).write_bytes(image)
    (tmp_path / "odd" / f"damaged{ESCAPES}.png").write_bytes(b"no image")
    checkpoint = write_checkpoint(tmp_path / "odd.pth", classes=("dark", f"bright\ud800{ESCAPES}"))
    done = run_tool("predict.py", "odd", "odd/deep", "--config", config, "--checkpoint", checkpoint, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "damaged\\x1b]0;title\\x07\\u202e.png" in done.stderr
    assert not set("\x1b\x07\u202e") & set(done.stdout + done.stderr)
    content = json.loads((tmp_path / "predictions" / "predictions.json").read_text())
    assert len(content["images"]) == len(content["annotations"]) == len(names)
    assert len(list((tmp_path / "predictions").glob("*.png"))) == len(names)


def test_a_terminated_prediction_leaves_what_it_found(model: tuple[Path, Path], tmp_path: Path) -> None:
    image = (tmp_path / "data" / "0.png").read_bytes()
    folder, results = tmp_path / "many", tmp_path / "predictions"
    folder.mkdir()
    for number in range(3000):
        (folder / f"{number}.png").write_bytes(image)
    config, checkpoint = model
    process = start_tool("predict.py", "many", "--config", config, "--checkpoint", checkpoint, folder=tmp_path)
    wait_for(lambda: results.is_dir() and len(list(results.glob("[0-9]*.png"))) > 3, seconds=90)
    process.send_signal(signal.SIGTERM)
    finish(process, code=143)
    content = json.loads((results / "predictions.json").read_text())
    assert 3 < len(content["images"]) == len(content["annotations"]) < 3000
    assert not list(results.glob(".*"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_video_is_whole(model: tuple[Path, Path], tmp_path: Path, number: int, code: int) -> None:
    """The frames so far play, and json and video have the same."""
    write_video(tmp_path / "clip.mp4", gray_frames(4000), rate=10)
    config, checkpoint = model
    words = ("clip.mp4", "--save-video", "--save-txt", "--config", config, "--checkpoint", checkpoint)
    process = start_tool("predict.py", *words, folder=tmp_path)
    results = tmp_path / "predictions"
    wait_for(lambda: (results / "labels" / "clip" / "000020.txt").exists(), seconds=90)
    process.send_signal(number)
    finish(process, code=code)
    content = json.loads((results / "predictions.json").read_text())
    count = len(content["images"])
    assert 20 < count == len(content["annotations"]) < 4000
    with open_source(results / "clip.mp4") as video:
        video.connect()
        frames = list(video.frames())
    assert [round(frame.time * 10) for frame in frames] == list(range(count))
    assert video.report.corrupt == 0 and not list(results.glob(".*"))


def test_report_of_a_test(model: tuple[Path, Path], tmp_path: Path) -> None:
    done = run_tool("test.py", *model, "--report", "report", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Wrote the report report/report.html" in done.stdout
    numbers = json.loads((tmp_path / "report" / "report.json").read_text())
    assert f"{numbers['overall']['ap']:.3f}" in ap_table(done.stdout)[0]
    (tmp_path / "report" / "report.json").write_text("{}")
    done = run_tool("test.py", *model, "--report", "report", folder=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "report.json exists already" in done.stderr
