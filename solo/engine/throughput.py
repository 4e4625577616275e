"""Images a second of whole training steps, with their loader: of one process, and of all that train together."""

from __future__ import annotations

import copy
import itertools
import resource
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size, is_distributed
from mmengine.registry import MODEL_WRAPPERS, init_default_scope
from mmengine.runner import Runner
from torch import distributed, nn

from benchmarks.contenders import Contender
from benchmarks.pairs import Progress, Row, noise_of, quartiles, time_row, wait_for_device
from benchmarks.stages import Stages, Timed
from solo.registry import SCOPE

ROUNDS = 3
"""Turns of each side against a peer, whose workers would disturb a step-by-step change."""
TRAINING_STAGES = ("loader", "preprocess", "forward", "backward", "update")


class _Run(NamedTuple):
    """Steps of one side.

    Attributes:
        seconds: of each step with its loading.
        stages: seconds of each of `TRAINING_STAGES` in each of as many steps more.
    """

    seconds: list[float]
    stages: list[dict[str, float]]


def measure_throughput(
    config: Config, contenders: Sequence[Contender], *, name: str, batch_size: int, steps: int, warmup: int
) -> list[Row]:
    """Train some steps from the config's loader, as `tools/train.py` does, in every process that has been joined.

    Whole steps are timed without a break between them; their stages are timed in other steps, since the timers wait
    for an accelerator at each border.

    Args:
        config: of the model, its loader and its wrapper for several processes.
        contenders: ours, then the peer's.
        name: of the config.
        batch_size: images of a step of one process.
        steps: that are timed, each time.
        warmup: steps before those.

    Returns:
        The rows images_per_second_train_<config> (of all processes together), images_per_second_process (the mean of
        them), step_with_loader and step_with_loader/<stage> (of this process), and of ours alone peak_memory_host and
        peak_memory_device (of this process).
    """
    init_default_scope(config.get("default_scope") or SCOPE)
    rounds = ROUNDS if len(contenders) > 1 else 1
    sides = [_Side(config, contender, batch_size=batch_size) for contender in contenders]
    progress = Progress("throughput", total=rounds * len(sides))
    runs: list[list[_Run]] = [[] for _ in sides]
    for turn, (index, side) in itertools.product(range(rounds), enumerate(sides)):
        runs[index].append(side.run(steps=steps, warmup=warmup))
        progress.done(turn * len(sides) + index + 1)
    rows = _rate_rows(runs, name=name, images=batch_size * steps)
    rows.append(time_row("step_with_loader", *([s for run in side for s in run.seconds] for side in runs)))
    for stage in TRAINING_STAGES:
        taken = [[step.get(stage, 0.0) for run in side for step in run.stages] for side in runs]
        rows.append(time_row(f"step_with_loader/{stage}", *taken))
    return rows if len(sides) > 1 else rows + _memory_rows()


def throughput_line(rows: Sequence[Row], *, processes: int) -> str | None:
    """`8 GPUs | 21.26 images/s` of the rows that `processes` have measured together; None without such rows."""
    found = [row for row in rows if row.name.startswith("images_per_second_train")]
    one, several = ("GPU", "GPUs") if torch.cuda.is_available() else ("CPU process", "CPU processes")
    return f"{processes} {one if processes == 1 else several} | {found[0].ours:.2f} images/s" if found else None


class _Side:
    """A contender with its loader, wrapped for several processes where there are several."""

    def __init__(self, config: Config, contender: Contender, *, batch_size: int) -> None:
        self._contender = contender
        self._model = _wrapped(config, contender.model) if is_distributed() else contender.model
        self._loader_config = copy.deepcopy(config.train_dataloader)
        # Without end, so that no epoch's end falls into the measurement.
        sampler = dict(type="InfiniteSampler", shuffle=True, seed=0)
        self._loader_config.update(sampler=sampler, persistent_workers=False)
        self._loader_config.update(dataset=contender.dataset_config, batch_size=batch_size)
        if not torch.cuda.is_available():
            self._loader_config.pop("pin_memory", None)
        optim_wrapper = contender.optim_wrapper
        self._stages = Stages(
            [
                Timed(contender.model.data_preprocessor, "forward", "preprocess"),
                Timed(optim_wrapper, "backward", "backward"),
                Timed(optim_wrapper, "step", "update"),
            ]
        )

    def run(self, *, steps: int, warmup: int) -> _Run:
        """Make a loader, warm up, and step twice as often as asked for: once for the steps, once for their stages."""
        batches = iter(Runner.build_dataloader(self._loader_config))
        for _ in range(warmup):
            self._step(next(batches))
        clock = _Clock()
        for _ in range(steps):
            self._step(next(batches))
            clock.mark()
        stages = [self._timed_step(batches) for _ in range(steps)]
        return _Run(clock.seconds(), stages)

    def _step(self, batch: Any) -> None:
        self._model.train_step(batch, self._contender.optim_wrapper)

    def _timed_step(self, batches: Iterator[Any]) -> dict[str, float]:
        self._stages.reset()
        with self._stages.timing():
            with self._stages.stage("loader"):
                batch = next(batches)
            with self._stages.stage("forward"):
                self._step(batch)
        return dict(self._stages.seconds)


class _Clock:
    """Times between marks: on a GPU those at which it reaches them, so that the host need not wait."""

    def __init__(self) -> None:
        wait_for_device()
        self._marks: list[Any] = []
        self.mark()

    def mark(self) -> None:
        """Here a step ends and the next begins."""
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self._marks.append(event)
        else:
            self._marks.append(time.perf_counter())

    def seconds(self) -> list[float]:
        """Between each mark and the next."""
        wait_for_device()
        pairs = itertools.pairwise(self._marks)
        return [end - start if isinstance(end, float) else start.elapsed_time(end) / 1000 for start, end in pairs]


def _wrapped(config: Config, model: nn.Module) -> Any:
    options = dict(config.model_wrapper_cfg)
    if torch.cuda.is_available():
        options.setdefault("device_ids", [torch.cuda.current_device()])
    return MODEL_WRAPPERS.build({**options, "module": model})


def _rate_rows(runs: Sequence[Sequence[_Run]], *, name: str, images: int) -> list[Row]:
    """Images of all steps over the seconds they took together: a loader that stalls now and then counts."""
    world = get_world_size()
    jobs = [[_sum_over_processes(images / sum(run.seconds)) for run in side] for side in runs]
    totals = [len(side) / sum(1 / rate for rate in side) for side in jobs]
    noises = [noise_of([taken for run in side for taken in run.seconds]) for side in runs]
    row = Row(f"images_per_second_train_{name}", "images/s", totals[0], noise=noises[0])
    if len(runs) > 1:
        ratios = [ours / peer for ours, peer in zip(*jobs, strict=True)]
        spread = quartiles(ratios)
        row = row._replace(peer=totals[1], ratio=statistics.median(ratios), spread=spread, peer_noise=noises[1])
        row = row._replace(equal=True)
    peer = None if row.peer is None else row.peer / world
    return [row, row._replace(name="images_per_second_process", ours=row.ours / world, peer=peer)]


def _sum_over_processes(value: float) -> float:
    if not is_distributed():
        return value
    values: list[Any] = [None] * get_world_size()
    distributed.all_gather_object(values, value)
    return float(sum(values))


def _memory_rows() -> list[Row]:
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    rows = [Row("peak_memory_host", "MiB", kilobytes / 1024)]
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        rows.append(Row("peak_memory_device", "MiB", torch.cuda.max_memory_allocated() / 2**20))
    return rows
