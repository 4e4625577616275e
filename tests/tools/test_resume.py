"""A training that is killed or stopped by a signal and resumed has the losses and weights of an uninterrupted one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from solo.checkpoints.saving import UNFINISHED
from solo.engine.hooks.curves import read_records
from tests.helpers.commands import group_is_alive
from tests.helpers.paths import CONFIGS, ROOT

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

LARGE_CHECKPOINTS = """
custom_imports = dict(imports=["tests.helpers.fakes"], allow_failed_imports=False)
custom_hooks = [*_base_.custom_hooks, dict(type="LargeCheckpointHook", megabytes=100)]
"""


def write_config(folder: Path) -> Path:
    path = folder / "tiny_shapes.py"
    base = CONFIGS / "shapes" / "solov2-nano_shapes.py"
    path.write_text(CONFIG.format(base=base, data=folder / "shapes", epochs=EPOCHS))
    return path


def start(config: Path, work_dir: Path, *options: str) -> subprocess.Popen[bytes]:
    train = str(ROOT / "tools" / "train.py")
    command = [sys.executable, train, str(config), "--work-dir", str(work_dir), "--seed", "3"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    # A session of its own, so that killing it takes the data workers along, as losing the machine would.
    with (work_dir.parent / f"{work_dir.name}.log").open("ab") as log:
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


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work folder of an uninterrupted training."""
    folder = tmp_path_factory.mktemp("alone")
    work_dir = folder / "uninterrupted"
    finish(start(write_config(folder), work_dir), work_dir)
    return work_dir


def assert_equal(resumed: Path, uninterrupted: Path) -> None:
    assert losses(resumed) == losses(uninterrupted)
    weights, expected = final_weights(resumed), final_weights(uninterrupted)
    assert weights.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(weights[name], tensor), name


@pytest.mark.long
@pytest.mark.timeout(400)
def test_killed_and_resumed_equals_uninterrupted(uninterrupted: Path, tmp_path: Path) -> None:
    config, killed = write_config(tmp_path), tmp_path / "killed"
    process = start(config, killed)
    # In the middle of the third of four epochs of about a dozen iterations.
    wait_for_iteration(killed, len(losses(uninterrupted)) * 5 // 8, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / f"epoch_{EPOCHS}.pth").exists()
    finish(start(config, killed, "--resume"), killed)
    assert_equal(killed, uninterrupted)


def wait_for_a_save(work_dir: Path, process: subprocess.Popen[bytes]) -> None:
    """Return while a checkpoint is being written."""
    while process.poll() is None:
        if work_dir.is_dir() and any(work_dir.glob(f"*{UNFINISHED}")):
            return
        time.sleep(0.001)
    pytest.fail("no save was seen")


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_random_moments_equals_uninterrupted(uninterrupted: Path, tmp_path: Path, seed: int) -> None:
    """Twice in a save, and between the processes, steps and epochs as it happens; each time it is resumed."""
    moments = random.Random(seed)
    config, killed = write_config(tmp_path), tmp_path / "killed"
    # A large checkpoint takes longer to write.
    config.write_text(config.read_text() + LARGE_CHECKPOINTS)
    steps = len(losses(uninterrupted))
    for kill_in_save in moments.sample([True, True, False, False], k=4):
        process = start(config, killed, "--resume")
        if kill_in_save:
            wait_for_a_save(killed, process)
        else:
            done = max(losses(killed), default=0) if killed.is_dir() else 0
            wait_for_iteration(killed, moments.randint(min(done + 1, steps - 1), steps - 1), process)
            time.sleep(moments.uniform(0, 0.3))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    finish(start(config, killed, "--resume"), killed)
    assert_equal(killed, uninterrupted)
    assert not list(killed.glob(f"*{UNFINISHED}"))


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_stopped_by_a_signal_and_resumed_equals_uninterrupted(
    uninterrupted: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """A scheduler and a terminal send the signal to the loader's workers too."""
    config, stopped = write_config(tmp_path), tmp_path / "stopped"
    process = start(config, stopped)
    wait_for_iteration(stopped, len(losses(uninterrupted)) * 3 // 8, process)
    os.killpg(process.pid, number)
    assert process.wait(timeout=100) == code, (tmp_path / "stopped.log").read_text()
    assert not group_is_alive(process.pid)
    done = max(losses(stopped))
    assert (stopped / f"iter_{done}.pth").is_file()
    finish(start(config, stopped, "--resume"), stopped)
    assert_equal(stopped, uninterrupted)


@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_second_ctrl_c_ends_a_training_at_once(tmp_path: Path) -> None:
    config, stopped = write_config(tmp_path), tmp_path / "stopped"
    process = start(config, stopped)
    wait_for_iteration(stopped, 1, process)
    for _ in range(2):
        os.kill(process.pid, signal.SIGINT)
        time.sleep(0.01)
    assert process.wait(timeout=60) == 130, (tmp_path / "stopped.log").read_text()
    assert not group_is_alive(process.pid)
    assert "Traceback" not in (tmp_path / "stopped.log").read_text()
