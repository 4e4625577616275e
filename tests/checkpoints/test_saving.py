"""A checkpoint is there whole or not at all, whatever happens to the process or the disk."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from solo.checkpoints import load_checkpoint
from solo.checkpoints.saving import UNFINISHED, remove_unfinished, save_atomically
from solo.errors import CheckpointError
from tests.helpers.paths import ROOT

CONTENT = {"state_dict": {"weight": torch.arange(1000.0)}}


def test_folders_are_made_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "epoch_1.pth"
    save_atomically(CONTENT, path)
    assert torch.equal(load_checkpoint(path)["state_dict"]["weight"], CONTENT["state_dict"]["weight"])
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_former_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "epoch_1.pth"
    save_atomically(CONTENT, path)
    before = path.read_bytes()
    with pytest.raises(Exception, match=r"pickle|local object"):
        save_atomically({"state_dict": lambda: None}, path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("is_folder", [True, False])
def test_a_place_that_cannot_be_written_is_told(tmp_path: Path, is_folder: bool) -> None:
    path = tmp_path / "taken" / ("" if is_folder else "epoch_1.pth")
    (tmp_path / "taken").mkdir() if is_folder else (tmp_path / "taken").write_text("a file")
    with pytest.raises(
        CheckpointError, match=r"taken.* cannot be written: .* MB are free in .*Earlier ones are unchanged"
    ):
        save_atomically(CONTENT, path)
    assert not list(tmp_path.rglob(f"*{UNFINISHED}"))


def test_what_mmengine_records_is_stored_without_numpy(tmp_path: Path) -> None:
    """So that `torch.load(weights_only=True)` reads it anywhere; histories come back as they were."""
    hub = {
        "log_scalars": OrderedDict(loss=HistoryBuffer([1.5, 2.5], [1, 2], 100)),
        "runtime_info": OrderedDict(best=np.float64(0.5), epoch=np.int64(3), flag=np.bool_(True), nested=[np.ones(2)]),
        "resumed_keys": {"loss": True},
    }
    weights = torch.nn.BatchNorm2d(2).state_dict()
    save_atomically({"state_dict": weights, "message_hub": hub, "pair": (np.float32(2), "a")}, tmp_path / "a.pth")
    torch.load(tmp_path / "a.pth", weights_only=True)
    with zipfile.ZipFile(tmp_path / "a.pth") as archive:
        assert b"numpy" not in archive.read("archive/data.pkl")
    loaded = load_checkpoint(tmp_path / "a.pth")
    history = loaded["message_hub"]["log_scalars"]["loss"]
    assert isinstance(history, HistoryBuffer)
    assert [array.tolist() for array in history.data] == [[1.5, 2.5], [1, 2]]
    assert history.max_length == 100
    assert history.mean() == 4 / 3
    info = loaded["message_hub"]["runtime_info"]
    assert (info["best"], info["epoch"], info["flag"]) == (0.5, 3, True)
    assert torch.equal(info["nested"][0], torch.ones(2, dtype=torch.float64))
    assert loaded["pair"] == (2.0, "a")
    assert loaded["state_dict"]._metadata == weights._metadata


DISK_FULL = """
import resource, sys, torch
import solo
from solo.checkpoints.saving import save_atomically
from solo.errors import CheckpointError

save_atomically({"state_dict": {"weight": torch.ones(10)}}, sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save_atomically({"state_dict": {"weight": torch.ones(1_000_000)}}, sys.argv[1])
except CheckpointError as error:
    print(error)
"""


def test_a_full_disk_leaves_the_former_checkpoint(tmp_path: Path) -> None:
    """A limit on the size of files stands in for a full disk: the write fails in its middle."""
    path = tmp_path / "epoch_1.pth"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", DISK_FULL, str(path)], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert f"checkpoint {path} cannot be written: File too large (" in done.stdout
    assert len(load_checkpoint(path)["state_dict"]["weight"]) == 10
    assert list(tmp_path.iterdir()) == [path]


SAVE_FOREVER = """
import sys, torch
import solo
from solo.checkpoints.saving import save_atomically

for number in range(10**9):
    save_atomically({"state_dict": {"weight": torch.full((3_000_000,), float(number))}}, sys.argv[1])
"""


@pytest.mark.long
def test_a_process_killed_while_it_saves_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "latest.pth"
    for delay in (0.0, 0.011, 0.023, 0.037, 0.051):
        process = subprocess.Popen(
            [sys.executable, "-c", SAVE_FOREVER, str(path)], env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        started = time.time()
        while (not path.exists() or path.stat().st_mtime < started) and time.time() < started + 60:
            time.sleep(0.005)
        time.sleep(delay)
        process.kill()
        process.wait()
        weight = load_checkpoint(path)["state_dict"]["weight"]
        assert weight.shape == (3_000_000,)
        assert (weight == weight[0]).all()
    left = [file.name for file in tmp_path.iterdir() if file != path]
    assert all(name.startswith(path.name) and name.endswith(UNFINISHED) for name in left)
    remove_unfinished(tmp_path)
    assert list(tmp_path.iterdir()) == [path]
