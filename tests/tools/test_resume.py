"""A training that is killed and resumed has the losses and weights of one that was left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from solo.engine.training_curves import read_records

ROOT = Path(__file__).parents[2]
EPOCHS = 4
CONFIG = """
_base_ = r"{base}"

data = dict(data_root=r"{data}", num_train=48, num_val=4, image_size=96)
train_dataloader = dict(batch_size=4, num_workers=1, dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = val_dataloader
default_hooks = dict(logger=dict(interval=1))
train_cfg = dict(max_epochs={epochs}, val_interval={epochs})
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=10),
    dict(type="CosineAnnealingLR", by_epoch=True, begin=0, end={epochs}, T_max={epochs}, convert_to_iter_based=True),
]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny_shapes.py"
    base = ROOT / "configs" / "shapes" / "solov2-nano_shapes.py"
    path.write_text(CONFIG.format(base=base, data=tmp_path / "shapes", epochs=EPOCHS))
    return path


def start(config: Path, work_dir: Path, *options: str) -> subprocess.Popen[bytes]:
    train = str(ROOT / "tools" / "train.py")
    command = [sys.executable, train, str(config), "--work-dir", str(work_dir), "--seed", "3"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    log = (work_dir.parent / f"{work_dir.name}.log").open("ab")
    # A session of its own, so that killing it takes the data workers along, as losing the machine would.
    return subprocess.Popen([*command, *options], env=environment, stdout=log, stderr=log, start_new_session=True)


def finish(process: subprocess.Popen[bytes], work_dir: Path) -> None:
    code = process.wait(timeout=200)
    assert code == 0, (work_dir.parent / f"{work_dir.name}.log").read_text()


def losses(work_dir: Path) -> dict[int, tuple[float, float]]:
    return {int(record["iter"]): (record["loss_cls"], record["loss_mask"]) for record in read_records(work_dir).train}


def final_weights(work_dir: Path) -> dict[str, torch.Tensor]:
    return torch.load(work_dir / f"epoch_{EPOCHS}.pth", weights_only=True)["state_dict"]


def wait_for_iteration(work_dir: Path, iteration: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 150
    while time.monotonic() < deadline and process.poll() is None:
        if work_dir.is_dir() and max(losses(work_dir), default=0) >= iteration:
            return
        time.sleep(0.05)
    pytest.fail((work_dir.parent / f"{work_dir.name}.log").read_text())


@pytest.mark.long
@pytest.mark.timeout(400)
def test_killed_and_resumed_equals_uninterrupted(config, tmp_path):
    uninterrupted, killed = tmp_path / "uninterrupted", tmp_path / "killed"
    finish(start(config, uninterrupted), uninterrupted)

    process = start(config, killed)
    # In the middle of the third of four epochs of about a dozen iterations.
    wait_for_iteration(killed, len(losses(uninterrupted)) * 5 // 8, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / f"epoch_{EPOCHS}.pth").exists()
    finish(start(config, killed, "--resume"), killed)

    assert losses(killed) == losses(uninterrupted)
    resumed, expected = final_weights(killed), final_weights(uninterrupted)
    assert resumed.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(resumed[name], tensor), name
