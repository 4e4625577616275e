"""The launch scripts: real processes on this machine, and the commands passed to Slurm."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from solo.engine.hooks.checkpoint import latest_checkpoint
from solo.engine.hooks.curves import read_records
from tests.helpers.commands import (
    ap_table,
    child_processes,
    finish,
    processes_in,
    read_results,
    run_tool,
    start_module,
    start_script,
    wait_for,
)
from tests.helpers.fakes import write_checkpoint, write_config, write_data
from tests.helpers.paths import ROOT
from tests.helpers.tiny_model import tiny_config


@pytest.fixture(autouse=True)
def no_process_is_left(tmp_path: Path) -> Iterator[None]:
    """Kill the processes that a failed test has left."""
    yield
    for process in processes_in(tmp_path):
        os.kill(process, signal.SIGKILL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.long
def test_an_uneven_split_evaluates_as_one_process_does(tmp_path: Path) -> None:
    config = write_config(tmp_path, count=5)
    checkpoint = write_checkpoint(tmp_path / "checkpoint.pth")
    moving = ["--cfg-options", "model.moving=True"]
    single = run_tool("test.py", config, checkpoint, "--out", "single.json", *moving, folder=tmp_path)
    assert single.returncode == 0, single.stderr
    out, _ = finish(
        start_script("dist_test.sh", config, checkpoint, "2", "--out", "two.json", *moving, folder=tmp_path)
    )
    assert ap_table(out) == ap_table(single.stdout)
    assert 0.2 < float(ap_table(out)[0].split()[1]) < 0.9
    assert read_results(tmp_path / "two.json") == read_results(tmp_path / "single.json")
    assert [result["image_id"] for result in read_results(tmp_path / "two.json")] == list(range(5))


@pytest.mark.long
def test_two_machines_with_one_process_each_train_together(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    nodes = dict(NNODES="2", MASTER_ADDR="127.0.0.1", PORT=str(free_port()))
    processes = [start_script("dist_train.sh", config, "1", folder=tmp_path, NODE_RANK=rank, **nodes) for rank in "01"]
    for process in processes:
        finish(process)
    # Four images, two ranks with batches of two: one step an epoch.
    assert [record["step"] for record in read_records(tmp_path / "work_dirs" / "square").train] == [1, 2, 3]
    assert (tmp_path / "work_dirs" / "square" / "epoch_3.pth").is_file()


@pytest.mark.long
def test_torchrun_starts_the_command_without_a_clone(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    launch = ["--nproc-per-node", "2", "--master-port", str(free_port()), "-m", "solo", "train"]
    finish(start_module("torch.distributed.run", *launch, config, "--launcher", "pytorch", folder=tmp_path))
    assert [record["step"] for record in read_records(tmp_path / "work_dirs" / "square").train] == [1, 2, 3]


@pytest.mark.long
def test_a_port_in_use_is_replaced(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    checkpoint = write_checkpoint(tmp_path / "checkpoint.pth")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        _, error = finish(start_script("dist_test.sh", config, checkpoint, "1", folder=tmp_path, PORT=port))
    assert f"port {port} is in use, using " in error


@pytest.mark.long
def test_a_killed_rank_is_restarted_from_the_last_checkpoint(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    options = ["--cfg-options", "train_cfg.max_epochs=40", "train_cfg.val_interval=100"]
    slow = "custom_hooks.0.type=SlowHook"
    process = start_script("dist_train.sh", config, "2", *options, slow, folder=tmp_path, MAX_RESTARTS="1")
    work_dir = tmp_path / "work_dirs" / "square"
    wait_for((work_dir / "epoch_5.pth").exists, seconds=60)
    victims = child_processes(process.pid)
    assert len(victims) == 2
    os.kill(victims[-1], signal.SIGKILL)
    finish(process)
    assert (work_dir / "epoch_40.pth").is_file()
    steps = [record["step"] for record in read_records(work_dir).train]
    assert steps == list(range(1, 41))
    runs = sorted(folder for folder in work_dir.iterdir() if (folder / "vis_data").is_dir())
    assert len(runs) == 2
    resumed = [json.loads(line) for line in (runs[1] / "vis_data" / "scalars.json").read_text().splitlines()]
    assert resumed[0]["step"] > 5, "it began again from the last checkpoint, not from the start"


@pytest.mark.long
def test_a_training_of_two_ranks_is_resumed_by_one(tmp_path: Path) -> None:
    """Four images in batches of two: an epoch of the ranks has one step, an epoch of the single process two."""
    config, work_dir = write_config(tmp_path), tmp_path / "work_dirs" / "square"
    finish(start_script("dist_train.sh", config, "2", "--cfg-options", "train_cfg.max_epochs=2", folder=tmp_path))
    done = run_tool("train.py", config, "--resume", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "An epoch has 2 steps now and had 1: the training continues after step 4" in done.stdout
    assert [record["step"] for record in read_records(work_dir).train] == [1, 2, 5, 6]
    assert (work_dir / "epoch_3.pth").is_file()


EMPTY_RANK = """
default_scope = "solo"
custom_imports = dict(imports=["tests.helpers.fakes"], allow_failed_imports=False)
model = {model}
pipeline = [dict(type="LoadImage"), dict(type="LoadInstances"), dict(type="PackSample")]
train_dataloader = dict(
    batch_size=2,
    num_workers=1,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="CocoInstances", ann_file={ann_file!r}, data_prefix=dict(img={folder!r}), pipeline=pipeline),
)
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=2)
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.01, momentum=0.9))
custom_hooks = [dict(type="RankWeightsHook")]
randomness = dict(seed=1)
"""


@pytest.mark.long
def test_a_rank_without_objects_trains_with_the_others(tmp_path: Path) -> None:
    """The images of rank 1 have no object, and in the second step of each epoch those of rank 0 have none either."""
    data = tmp_path / "data"
    data.mkdir()
    ann_file = write_data(data, count=12)
    content = json.loads(ann_file.read_text())
    content["annotations"] = [found for found in content["annotations"] if found["image_id"] in (0, 2, 8, 10)]
    content["categories"].append(dict(id=3, name="none"))
    ann_file.write_text(json.dumps(content))
    config = tmp_path / "empty_rank.py"
    config.write_text(EMPTY_RANK.format(model=tiny_config(), ann_file=str(ann_file), folder=str(data)))
    finish(start_script("dist_train.sh", config, "2", folder=tmp_path))
    work_dir = tmp_path / "work_dirs" / "empty_rank"
    one, other = (torch.load(work_dir / f"rank{rank}.pth", weights_only=True) for rank in (0, 1))
    assert one["objects"] == [2, 0, 2, 2, 0, 2]
    assert other["objects"] == [0] * 6
    assert not one["find_unused_parameters"] and not one["static_graph"]
    assert one["weights"].keys() == other["weights"].keys()
    assert all(torch.equal(one["weights"][name], other["weights"][name]) for name in one["weights"])
    assert all(bool(weight.isfinite().all()) for weight in one["weights"].values())


@pytest.mark.long
def test_a_launcher_that_is_told_to_stop_leaves_no_process_and_a_state_to_go_on_from(tmp_path: Path) -> None:
    """Ranks, and their loaders' workers."""
    config = write_config(tmp_path, count=8)
    options = ["train_cfg.max_epochs=400", "train_cfg.val_interval=1000", "train_dataloader.num_workers=1"]
    hooks = ["custom_hooks.0.type=SlowHook", "custom_hooks.3.type=StopSignalsHook", "custom_hooks.3.interval=2"]
    process = start_script("dist_train.sh", config, "2", "--cfg-options", *options, *hooks, folder=tmp_path)
    work_dir = tmp_path / "work_dirs" / "square"
    wait_for((work_dir / "epoch_2.pth").exists, seconds=60)
    # A loader's workers end with its epoch, so they are not there at every moment.
    wait_for(lambda: [bool(child_processes(rank)) for rank in child_processes(process.pid)] == [True] * 2, seconds=60)
    process.send_signal(signal.SIGTERM)
    out, error = process.communicate(timeout=60)
    assert process.returncode != 0, "a launcher tells that it was stopped"
    wait_for(lambda: not processes_in(tmp_path), seconds=10)
    saved = latest_checkpoint(work_dir)
    assert saved is not None and saved.name.startswith("iter_"), out + error
    done = int(saved.stem.removeprefix("iter_"))
    more = f"train_cfg.max_epochs={done // 2 + 2}"
    finish(start_script("dist_train.sh", config, "2", "--resume", "--cfg-options", more, folder=tmp_path))
    assert [record["step"] for record in read_records(work_dir).train] == list(range(1, (done // 2 + 2) * 2 + 1))


@pytest.mark.parametrize("script", ["dist_train.sh", "dist_test.sh", "slurm_train.sh", "slurm_test.sh"])
def test_too_few_arguments_show_the_usage(script: str, tmp_path: Path) -> None:
    _, error = finish(start_script(script, "config.py", folder=tmp_path), code=2)
    assert error.startswith(f"usage: bash tools/{script} ")


@pytest.mark.parametrize("processes", ["0", "two", "-1", "--work-dir"])
def test_a_wrong_number_of_processes_is_an_error(processes: str, tmp_path: Path) -> None:
    _, error = finish(start_script("dist_train.sh", "config.py", processes, folder=tmp_path), code=2)
    assert f"not '{processes}'" in error


@pytest.mark.parametrize(
    ("script", "arguments", "called"),
    [
        (
            "slurm_train.sh",
            ["part", "job", "c.py", "out dir", "--amp"],
            ["train.py", "c.py", "--work-dir", "out dir", "--amp"],
        ),
        ("slurm_test.sh", ["part", "job", "c.py", "a.pth"], ["test.py", "c.py", "a.pth"]),
    ],
)
def test_slurm(script: str, arguments: list[str], called: list[str], tmp_path: Path) -> None:
    srun = tmp_path / "srun"
    srun.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    environment = dict(PATH=path, GPUS="4", SRUN_ARGS="--qos=high --time=1:00:00", PYTHON="python")
    out, _ = finish(start_script(script, *arguments, folder=tmp_path, **environment))
    lines = out.splitlines()
    for option in ("--partition=part", "--job-name=job", "--gres=gpu:4", "--ntasks=4", "--ntasks-per-node=4"):
        assert option in lines
    assert lines[lines.index("--kill-on-bad-exit=1") + 1 :][:2] == ["--qos=high", "--time=1:00:00"]
    command = lines[lines.index("python") :]
    assert command == ["python", "-u", str(ROOT / "tools" / called[0]), *called[1:], "--launcher", "slurm"]
