"""Joining the process group of a launcher, with or without GPUs."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dist import is_distributed
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from solo.errors import ConfigError

NO_LAUNCHER = "none"
# Environment variables for rank, local rank and world size.
VARIABLES = {
    "pytorch": ("RANK", "LOCAL_RANK", "WORLD_SIZE"),
    "slurm": ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS"),
    "mpi": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_SIZE"),
}
STARTED_BY = {
    "pytorch": "torchrun or tools/dist_train.sh",
    "slurm": "srun or tools/slurm_train.sh",
    "mpi": "mpirun",
}
DEFAULT_PORT = "29500"
TIMEOUT_SECONDS = 1800


@contextmanager
def process_group(config: Config, launcher: str) -> Iterator[None]:
    """Initialize the process group of a launcher; destroy it at the end.

    With GPUs each process uses the GPU of its local rank and the backend `env_cfg.dist_cfg.backend` (nccl). Without
    GPUs the backend is gloo. Nothing is initialized for "none".

    Args:
        config: the config; its `model_wrapper_cfg` is completed in place.
        launcher: "none", "pytorch", "slurm" or "mpi".

    Raises:
        ConfigError: the launcher did not start this process, or this machine has fewer GPUs than processes.
    """
    config.launcher = launcher
    if launcher == NO_LAUNCHER:
        yield
        return
    rank, local_rank, world_size = _ranks_and_world_size(launcher, os.environ)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(local_rank), WORLD_SIZE=str(world_size))
    os.environ.setdefault("MASTER_PORT", DEFAULT_PORT)
    # mmengine warns when these are not set.
    os.environ.setdefault("MKL_NUM_THREADS", os.environ.setdefault("OMP_NUM_THREADS", "1"))
    config.model_wrapper_cfg = _model_wrapper_cfg(config)
    options = dict((config.get("env_cfg") or {}).get("dist_cfg") or {})
    timeout = timedelta(seconds=options.get("timeout", TIMEOUT_SECONDS))
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank)
        backend = options.get("backend", "nccl")
    else:
        backend = "gloo"
    if not is_distributed():
        store = _store(rank, world_size, timeout)
        distributed.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=timeout)
    try:
        yield
    finally:
        if is_distributed():
            distributed.destroy_process_group()


def _ranks_and_world_size(launcher: str, environment: Mapping[str, str]) -> tuple[int, int, int]:
    missing = [name for name in VARIABLES[launcher] if name not in environment]
    if launcher != "slurm" and "MASTER_ADDR" not in environment:
        missing.append("MASTER_ADDR")
    if missing:
        raise ConfigError(
            f"--launcher {launcher}: the environment has no {', '.join(missing)}; start it with {STARTED_BY[launcher]}"
        )
    rank, local_rank, world_size = (int(environment[name]) for name in VARIABLES[launcher])
    if launcher == "slurm" and "MASTER_ADDR" not in environment:
        os.environ["MASTER_ADDR"] = _first_host(environment.get("SLURM_STEP_NODELIST") or environment["SLURM_NODELIST"])
    if torch.cuda.is_available() and local_rank >= torch.cuda.device_count():
        raise ConfigError(
            f"process {local_rank + 1} on this machine has no GPU: torch sees {torch.cuda.device_count()}; "
            "start as many processes as there are GPUs"
        )
    return rank, local_rank, world_size


def _store(rank: int, world_size: int, timeout: timedelta) -> distributed.Store:
    """The store through which processes meet; its prefix keeps a restarted job from reading old addresses."""
    store, _, _ = next(distributed.rendezvous("env://", rank, world_size, timeout=timeout))
    store.set_timeout(timeout)
    return distributed.PrefixStore(f"start_{restart_count()}", store)


def restart_count() -> int:
    """How often torchrun has restarted the processes after one of them died."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def _first_host(nodes: str) -> str:
    """The first host of Slurm's node list, such as `a,b`, `node[03-05,9],other` or `node[7,9]-ib`."""
    prefix, bracket, rest = nodes.partition("[")
    if not bracket or "," in prefix:
        return prefix.partition(",")[0]
    numbers, _, suffix = rest.partition("]")
    return prefix + numbers.replace("-", ",").partition(",")[0] + suffix.partition(",")[0]


def _model_wrapper_cfg(config: Config) -> ConfigDict:
    """Config of the model wrapper: each rank keeps its own buffers; `device_ids` is None without GPUs."""
    parameters = inspect.signature(DistributedDataParallel).parameters
    # torch 2.13 renamed the option and warns about the old name.
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in parameters else "broadcast_buffers"
    options = {"type": "MMDistributedDataParallel", buffers: False}
    options["find_unused_parameters"] = config.get("find_unused_parameters", False)
    if not torch.cuda.is_available():
        options["device_ids"] = None
    return ConfigDict({**options, **(config.get("model_wrapper_cfg") or {})})
