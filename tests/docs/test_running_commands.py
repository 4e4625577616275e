"""The commands of each page run one after the other, with small data, small stand-ins of the configs, random weights.

What needs other machines, many GPUs or minutes is in `NOT_RUN`, with the reason; its words still go through its parser
(`test_commands.py`).
"""

from __future__ import annotations

import importlib.util
import io
import os
import re
import shlex
import shutil
import signal
import sys
from pathlib import Path

import pytest

from solo.cli import main
from solo.runtime.__main__ import main as runtime_main
from tests.helpers.documented import is_config, write_random_weights, write_reader_folder, write_small_config
from tests.helpers.exported import needs_tested_torch
from tests.helpers.pages import shell_lines, words_of
from tests.helpers.paths import ROOT
from tests.helpers.videos import gray_frames, write_video

SEVEN = "test_train_your_own.py runs it on a labelme folder"
# Start of a command -> why it does not run here.
NOT_RUN = {
    "make ": "the set-up of a clone, or all tests; `make demo` is `solo demo`, which test_newcomer.py runs",
    "solo predict image.png --model ": "needs an image of nuclei: tests/test_weights.py predicts with the model",
    "find ": "not of solo; what it lists is the input of the next command",
    "solo predict rtsp:": "needs a camera",
    "solo predict photos --config solov2_r50_fpn_1x_coco --checkpoint weights.pth --out-dir shards --ray ": (
        "starts Ray: tests/inference/distributed/test_predict.py"
    ),
    "solo predict s3://": "needs a bucket and a cluster",
    "solo publish ": "needs what a training and its report leave: tests/checkpoints/test_publishing.py",
    "source ": "belongs to the shell",
    "pip ": "installs; test_wheel.py installs the wheel",
    "pre-commit ": "installs a hook of git",
    "scp ": "needs another machine",
    "tensorboard ": "serves until it is stopped",
    "bash tools/": "many GPUs, or a cluster: test_launch_scripts.py runs the scripts with two processes",
    "torchrun ": "many GPUs: test_launch_scripts.py runs it with two processes",
    "python -m pytest ": "runs tests",
    "python -m benchmarks.small_data ": "hours of training: tests/benchmarks/test_small_data.py",
    "python benchmarks/": "minutes of measurements; tests/benchmarks/test_scaling.py runs the model of many GPUs",
    "solo data check data/my_yolo/": "needs a YOLO data set: tests/datasets/formats, tests/cli/test_data_convert.py",
    "solo data convert ": "needs folders of other formats: tests/datasets/formats, tests/cli/test_data_convert.py",
    "solo train solov2-nano_crops_nuclei ": "needs nuclei; the snapshot and the building of its model are tested",
    "solo serve ": "serves until it is stopped: test_serve.py",
    "curl ": "needs a server: test_serve.py",
    "cvat-cli ": "needs a CVAT server: tests/serve/test_cvat.py",
    "solo data convert labelled ": SEVEN,
    "solo data split data/my_data/annotations/instances_train.json --out data/my_data/split ": SEVEN,
    "solo data check data/my_data/split/": SEVEN,
    "solo data browse data/my_data/split/": SEVEN,
    "solo data tune data/my_data/split/": SEVEN,
    "solo train my_tuned.py --work-dir ": SEVEN,
    "solo test my_tuned.py ": SEVEN,
    "solo predict photos/*.jpg --config my_tuned.py ": SEVEN,
    "solo predict photo.jpg --config my_data.py --checkpoint hf://": "needs a file of the Hub: test_hub.py",
    "solo train solov2_r50_fpn_1x_coco --log ": "needs a package of its own: test_training_options.py",
    "python -m benchmarks.crowds ": "minutes of measurements: tests/benchmarks/test_crowds.py runs it on small scenes",
    "solo benchmark ": "minutes of measurements: tests/benchmarks runs each subject on a tiny model",
}
# Pages that other tests of this folder run, in processes of their own and with the real models.
OTHER_TESTS = {"docs/getting_started.md": "test_newcomer.py"}
PAGES = {page: [line for found, line in shell_lines() if found == page] for page, _ in shell_lines()}
WRITTEN_BY = {"--out", "--out-dir", "--work-dir", "--show-dir", "--copy"}


def needs_module(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"needs {name}")


def runs_here(command: str) -> bool:
    return not without_variables(command).startswith(tuple(NOT_RUN))


def without_variables(command: str) -> str:
    """The words of a command after its variables and before its comment, each followed by a blank."""
    return "".join(f"{word} " for word in words_of(command))


MARKS = {
    "docs/deploy.md": [needs_tested_torch, needs_module("onnxruntime")],
    "docs/prediction.md": [needs_module("av")],
}
PAGES_RUN = [page for page, lines in PAGES.items() if page not in OTHER_TESTS and any(map(runs_here, lines))]


@pytest.fixture(scope="module")
def reader_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reader")
    write_reader_folder(folder)
    if importlib.util.find_spec("av") is not None:
        write_video(folder / "clip.mp4", gray_frames(6))
    return folder


class Reader:
    """Types the commands of a page in a folder."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def run(self, command: str) -> None:
        """Run a command in this process; it has to succeed."""
        words = [os.path.expandvars(localised(word)) for word in shlex.split(command, comments=True)]
        if words[0] == "export":
            self._set(words[1])
            return
        while re.match(r"[A-Z_]+=", words[0]):
            self._set(words.pop(0))
        words = [self._with_small_config(word) for word in words]
        if words[1] == "train":
            words = with_options(words, epochs=2 if "--resume" in words else 1)
        self._bring_weights(words)
        program = main
        if words[:3] == ["python", "-m", "solo.runtime"]:
            words, program = words[2:], runtime_main
        assert words[0].startswith("solo"), f"`{command}`: run it here, or give the reason in NOT_RUN"
        self._monkeypatch.setattr(sys, "argv", words)
        self._monkeypatch.setattr(sys, "stdin", io.StringIO("photos/0.jpg\nphotos/1.jpg\n"))
        assert program() == 0, command

    def _set(self, assignment: str) -> None:
        self._monkeypatch.setenv(*assignment.split("=", 1))

    def _with_small_config(self, word: str) -> str:
        if not is_config(word):
            return word
        target = Path(f"{word.removesuffix('.py')}.py")
        if not Path(f"{target}.small").exists():
            write_small_config(word, target)
            Path(f"{target}.small").touch()
        return str(target)

    def _bring_weights(self, words: list[str]) -> None:
        """Weights that a command reads: the last that were trained in that folder, or random ones."""
        config = next((Path(word) for word in words if word.endswith(".py")), None)
        for place, word in enumerate(words):
            path = Path(word)
            is_read = path.suffix == ".pth" and words[place - 1] not in WRITTEN_BY
            if words[1] == "convert":
                is_read &= place == 2
            if not is_read or path.exists() or config is None:
                continue
            if trained := sorted(path.parent.glob("epoch_*.pth")):
                shutil.copy(trained[-1], path)
            else:
                write_random_weights(config, path, dialect="mmdet" if words[1] == "convert" else None)


def localised(word: str) -> str:
    """The word with `/datasets/` inside of the folder."""
    return word.replace("/datasets/", f"{Path.cwd()}/datasets/")


def with_options(words: list[str], *, epochs: int) -> list[str]:
    return [*words, *([] if "--cfg-options" in words else ["--cfg-options"]), f"train_cfg.max_epochs={epochs}"]


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", [pytest.param(page, marks=MARKS.get(page, ())) for page in PAGES_RUN])
def test_commands_of_a_page_run(
    page: str, reader_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "reader"
    shutil.copytree(reader_folder, folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("DATA_ROOT", raising=False)
    reader, on_sigterm = Reader(monkeypatch), signal.getsignal(signal.SIGTERM)
    try:
        for command in filter(runs_here, PAGES[page]):
            reader.run(command)
    finally:
        signal.signal(signal.SIGTERM, on_sigterm)  # `solo predict` replaces it for the rest of its process


def test_pages_and_commands_that_do_not_run_exist() -> None:
    commands = [without_variables(command) for lines in PAGES.values() for command in lines]
    for start in NOT_RUN:
        assert start == "torchrun " or any(command.startswith(start) for command in commands), start
    for page, test in OTHER_TESTS.items():
        assert page in PAGES
        assert (ROOT / "tests" / "docs" / test).is_file()
