"""The scaling model against two processes on this machine, which speak through gloo."""

from __future__ import annotations

import copy
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.dataset import pseudo_collate
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from torch import Tensor, distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from benchmarks.contenders import build_contenders
from benchmarks.scaling_model import Link, Machines, Prediction, Step, predict
from solo.config import load_config

PROCESSES = 2
IMAGES = 8


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two processes as predicted from parts, and as they are. All seconds are medians of wall-clock time.

    Attributes:
        alone_seconds: of a step while the other process takes one too, without a word between them.
        all_reduce_seconds: of the gradients, while nothing else runs.
        together_seconds: of a step of both with summed gradients.
        prediction: from the first two.
    """

    alone_seconds: float
    all_reduce_seconds: float
    together_seconds: float
    prediction: Prediction

    def __str__(self) -> str:
        error = self.prediction.step_seconds / self.together_seconds - 1
        return "\n".join(
            [
                f"step alone         {self.alone_seconds * 1e3:9.1f} ms",
                f"all-reduce alone   {self.all_reduce_seconds * 1e3:9.1f} ms",
                f"step of both       {self.together_seconds * 1e3:9.1f} ms, efficiency "
                f"{self.alone_seconds / self.together_seconds:.3f}",
                f"predicted          {self.prediction.step_seconds * 1e3:9.1f} ms, efficiency "
                f"{self.prediction.efficiency:.3f}, error {error:+.1%}",
            ]
        )


def compare_with_two_processes(config_path: str | os.PathLike[str], *, rounds: int) -> Comparison:
    """Time a step alone, the all-reduce alone and the step of both, in turns, and predict the last from the others.

    Each process has one thread, and eight pictures of its own.

    Args:
        config_path: a config of the drawn shapes; they are drawn for the comparison.
        rounds: turns of each part, after one that is not counted.
    """
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(_process, args=(os.fspath(config_path), folder, rounds), nprocs=PROCESSES)
        found = [torch.load(Path(folder) / f"{rank}.pth") for rank in range(PROCESSES)]
    alone = tuple(seconds for times in found for seconds in times["alone"])
    size = found[0]["gradient_bytes"]
    all_reduce = statistics.median(time for times in found for time in times["all_reduce"])
    inside = Link(bytes_per_second=2 * (PROCESSES - 1) / PROCESSES * size / all_reduce)
    step = Step(images=IMAGES, seconds=alone, gradient_bytes=size)
    return Comparison(
        alone_seconds=statistics.median(alone),
        all_reduce_seconds=all_reduce,
        together_seconds=statistics.median(time for times in found for time in times["together"]),
        prediction=predict(step, Machines(gpus=PROCESSES, inside=inside, between=inside)),
    )


class _Loss(nn.Module):
    """The model as one function of its batch, which is what DistributedDataParallel wraps."""

    def __init__(self, model: BaseModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: dict[str, Any]) -> Tensor:
        """The sum of the losses."""
        prepared = self.model.data_preprocessor(copy.deepcopy(batch), True)
        total, _ = self.model.parse_losses(self.model(**prepared, mode="loss"))
        return total


def _process(rank: int, config_path: str, folder: str, rounds: int) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=PROCESSES)
    config = load_config(config_path)
    pictures = dict(num_train=PROCESSES * IMAGES, num_val=1, filter_cfg=dict(filter_empty_gt=False))
    config.train_dataloader.dataset.update(data_root=f"{folder}/shapes{rank}", **pictures)
    (contender,) = build_contenders(config, data=None, against=None, work_dir=folder)
    batch = pseudo_collate([contender.dataset[rank * IMAGES + index] for index in range(IMAGES)])
    model = contender.model
    works = {
        "alone": _step(_Loss(copy.deepcopy(model)), config, batch),
        "all_reduce": _all_reduce(model),
        "together": _step(DistributedDataParallel(_Loss(model)), config, batch),
    }
    times: dict[str, Any] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            distributed.barrier()
            start = time.perf_counter()
            work()
            if turn:
                times[name].append(time.perf_counter() - start)
    times["gradient_bytes"] = 4 * _trained(model)
    torch.save(times, f"{folder}/{rank}.pth")
    distributed.destroy_process_group()


def _step(loss: nn.Module, config: Any, batch: dict[str, Any]) -> Callable[[], object]:
    optim_wrapper = build_optim_wrapper(loss, copy.deepcopy(config.optim_wrapper))
    return lambda: optim_wrapper.update_params(loss(batch))


def _all_reduce(model: nn.Module) -> Callable[[], object]:
    gradients = torch.zeros(_trained(model))
    return lambda: distributed.all_reduce(gradients)


def _trained(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
