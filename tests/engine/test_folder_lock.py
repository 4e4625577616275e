"""Two trainings cannot use one work folder at the same time; a crash releases the folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from solo.engine.folder_lock import folder_lock
from solo.engine.training import train
from solo.errors import ConfigError
from tests.helpers.commands import run_tool
from tests.helpers.fakes import write_config
from tests.helpers.paths import ROOT

HOLDER = """
import os, sys, time
from solo.engine.folder_lock import folder_lock
with folder_lock(sys.argv[1]):
    child = os.fork()  # as a data worker
    if child:
        print(child, flush=True)
    time.sleep(100)
"""


@contextmanager
def training_elsewhere(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has locked a folder, with a child; both are killed in the end."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            yield process
        finally:
            process.kill()
            os.kill(child, signal.SIGKILL)


def test_a_second_training_is_an_error_and_touches_nothing(tmp_path: Path) -> None:
    config, work_dir = write_config(tmp_path), tmp_path / "work"
    work_dir.mkdir()
    (work_dir / "epoch_1.pth.unfinished").write_bytes(b"of the first training")
    with training_elsewhere(work_dir) as first:
        with pytest.raises(
            ConfigError, match=rf"{work_dir} is in use by another training \(process {first.pid} on .*\)"
        ):
            train(str(config), work_dir=str(work_dir))
        assert {path.name for path in work_dir.iterdir()} == {"epoch_1.pth.unfinished", ".training.lock"}
        done = run_tool("train.py", config, "--work-dir", work_dir, folder=tmp_path)
        assert done.returncode == 2
        error = done.stderr.splitlines()[-1]  # an old torch warns before
        assert error.startswith("error: work folder ") and "Traceback" not in done.stderr


def test_a_killed_training_releases_its_folder_though_a_worker_lives(tmp_path: Path) -> None:
    with training_elsewhere(tmp_path) as first:
        first.kill()
        first.wait()
        with folder_lock(tmp_path):
            assert f"process {os.getpid()} " in (tmp_path / ".training.lock").read_text()


def test_other_ranks_share_the_lock_of_the_first(tmp_path: Path) -> None:
    with training_elsewhere(tmp_path), folder_lock(tmp_path, enabled=False):
        pass


def test_a_training_releases_its_folder(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    for _ in range(2):
        train(str(config), work_dir=str(tmp_path / "work"), overrides={"train_cfg.max_epochs": 1})
    with training_elsewhere(tmp_path / "work"):
        pass
