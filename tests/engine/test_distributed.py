"""Joining the process group of a launcher from its environment variables, on the CPU."""

from __future__ import annotations

import os
import socket

import pytest
import torch
from mmengine.config import Config
from torch import distributed

from solo.engine.distributed import _first_host, _ranks_and_world_size, process_group
from solo.errors import ConfigError


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore the environment variables that a test or `process_group` sets."""
    for name in (
        "RANK",
        "LOCAL_RANK",
        "WORLD_SIZE",
        "MASTER_ADDR",
        "MASTER_PORT",
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
    ):
        monkeypatch.setenv(name, "0")
        monkeypatch.delenv(name)


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_a_single_process_has_no_group() -> None:
    config = Config(dict(model={}))
    with process_group(config, "none"):
        assert not distributed.is_initialized()
    assert config.launcher == "none"
    assert "model_wrapper_cfg" not in config


def test_without_gpus_the_backend_is_gloo_and_the_group_is_destroyed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in dict(
        RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT=free_port()
    ).items():
        monkeypatch.setenv(name, value)
    config = Config(dict(env_cfg=dict(dist_cfg=dict(backend="nccl")), model_wrapper_cfg=dict(static_graph=True)))
    with pytest.raises(ZeroDivisionError), process_group(config, "pytorch"):
        assert distributed.get_backend() == "gloo"
        assert distributed.get_world_size() == 1
        raise ZeroDivisionError
    assert not distributed.is_initialized()
    assert config.launcher == "pytorch"
    assert config.model_wrapper_cfg.device_ids is None
    assert config.model_wrapper_cfg.static_graph is True


@pytest.mark.parametrize(
    ("launcher", "told"),
    [
        ("pytorch", "RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR; start it with torchrun"),
        ("slurm", "SLURM_PROCID, SLURM_LOCALID, SLURM_NTASKS; start it with srun"),
        ("mpi", "OMPI_COMM_WORLD_RANK, .*; start it with mpirun"),
    ],
)
def test_missing_variables_of_a_launcher_are_named(launcher: str, told: str) -> None:
    message = f"--launcher {launcher}: the environment has no {told}"
    with pytest.raises(ConfigError, match=message), process_group(Config({}), launcher):
        pass


def test_more_processes_than_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    variables = dict(RANK="6", LOCAL_RANK="2", WORLD_SIZE="8", MASTER_ADDR="a")
    with pytest.raises(ConfigError, match="process 3 on this machine has no GPU: torch sees 2"):
        _ranks_and_world_size("pytorch", variables)
    assert _ranks_and_world_size("pytorch", {**variables, "LOCAL_RANK": "1"}) == (6, 1, 8)


def test_slurm_uses_the_first_host_as_master() -> None:
    variables = dict(SLURM_PROCID="3", SLURM_LOCALID="1", SLURM_NTASKS="4", SLURM_NODELIST="gpu[07-08]")
    assert _ranks_and_world_size("slurm", variables) == (3, 1, 4)
    assert os.environ["MASTER_ADDR"] == "gpu07"


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("a", "a"),
        ("a,b", "a"),
        ("node[03-05,9],other", "node03"),
        ("node[7,9]-ib", "node7-ib"),
        ("login,node[1-2]", "login"),
        ("rack1-node12", "rack1-node12"),
    ],
)
def test_first_host(nodes: str, first: str) -> None:
    assert _first_host(nodes) == first
