"""Images per second of training steps with their loader: of this process, and of all processes that train together."""

from __future__ import annotations

import copy
import itertools
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size, is_distributed
from mmengine.logging import MMLogger
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import MODEL_WRAPPERS, init_default_scope
from mmengine.runner import Runner
from torch import distributed

from solo.config.overrides import start_from_random_weights, use_amp
from solo.engine.distributed import process_group
from solo.engine.hooks import NetworkOptionsHook
from solo.registry import HOOKS, MODELS, SCOPE


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """What a training reaches.

    Attributes:
        images_per_second: of all processes together.
        processes: how many trained.
        seconds: of each timed step of this process, its loading included.
    """

    images_per_second: float
    processes: int
    seconds: Sequence[float]

    def __str__(self) -> str:
        return throughput_line(self.images_per_second, processes=self.processes)


def measure_throughput(
    config: Config, *, batch_size: int | None, steps: int, warmup: int, device: str | None, launcher: str
) -> Throughput:
    """Train for some steps with the config's model and loader, as `solo train` does, and time them.

    Args:
        config: the config; its backbone starts from random weights.
        batch_size: images per step and process; None for the config's.
        steps: timed steps.
        warmup: steps before those.
        device: "cpu", "cuda", ...; None for the GPU if there is one.
        launcher: "none", "pytorch", "slurm" or "mpi": what started the processes.

    Raises:
        ConfigError: the config cannot be used.
    """
    config = copy.deepcopy(config)
    start_from_random_weights(config)
    init_default_scope(config.get("default_scope") or SCOPE)
    with process_group(config, launcher):
        model = build_training_model(config, device=device or ("cuda" if torch.cuda.is_available() else "cpu"))
        apply_network_options(config, model)
        training = TimedTraining(
            config,
            model=model.train(),
            optim_wrapper=build_optim_wrapper(model, copy.deepcopy(config.optim_wrapper)),
            dataset=config.train_dataloader.dataset,
            batch_size=batch_size or config.train_dataloader.batch_size,
        )
        seconds = training.time_steps(training.batches(), steps=steps, warmup=warmup)
        rate = sum_over_processes(training.batch_size * steps / sum(seconds))
        return Throughput(images_per_second=rate, processes=get_world_size(), seconds=seconds)


def throughput_line(images_per_second: float, *, processes: int) -> str:
    """The result of a job as one line, such as `8 GPUs | 21.26 images/s`."""
    one, several = ("GPU", "GPUs") if torch.cuda.is_available() else ("CPU process", "CPU processes")
    return f"{processes} {one if processes == 1 else several} | {images_per_second:.2f} images/s"


def set_training_options(config: Config, *, amp: bool, channels_last: bool, compile: bool) -> None:
    """Write mixed precision, memory layout and compilation into a config."""
    if amp:
        use_amp(config)
    if channels_last or compile:
        hook = dict(type="NetworkOptionsHook", channels_last=channels_last, compile={} if compile else None)
        config.custom_hooks = [*config.get("custom_hooks", []), hook]


def build_training_model(config: Config, *, device: str) -> BaseModel:
    """Build and initialise the model; SyncBN becomes BN in a single process."""
    # mmengine logs every parameter that it initialises.
    MMLogger.get_current_instance().setLevel(logging.WARNING)
    model = MODELS.build(config.model)
    model.init_weights()
    return place_model(model, device)


def place_model(model: BaseModel, device: str) -> BaseModel:
    """Move a model to its device; SyncBN becomes BN in a single process."""
    if not is_distributed():
        model = revert_sync_batchnorm(model)
    placed: BaseModel = model.to(device)
    return placed


def apply_network_options(config: Config, model: BaseModel) -> None:
    """Do to the network what the config's `NetworkOptionsHook` does before a training."""
    for options in config.get("custom_hooks") or []:
        hook = HOOKS.build(options)
        if isinstance(hook, NetworkOptionsHook):
            hook.before_train(SimpleNamespace(model=model))


class TimedTraining:
    """Training steps with a loader, wrapped for several processes where there are several.

    Args:
        config: states the loader and the model wrapper.
        model: in training mode, on its device.
        optim_wrapper: updates the weights of `model`.
        dataset: options of the data set, with its pipeline.
        batch_size: images per step and process.
    """

    def __init__(
        self,
        config: Config,
        *,
        model: BaseModel,
        optim_wrapper: OptimWrapper,
        dataset: Mapping[str, Any],
        batch_size: int,
    ) -> None:
        self.batch_size = batch_size
        self.optim_wrapper = optim_wrapper
        self._model = _wrap(config, model) if is_distributed() else model
        self._loader_config = copy.deepcopy(config.train_dataloader)
        # An infinite sampler keeps the end of an epoch out of the measurement.
        sampler = dict(type="InfiniteSampler", shuffle=True, seed=0)
        self._loader_config.update(sampler=sampler, persistent_workers=False)
        self._loader_config.update(dataset=dict(dataset), batch_size=batch_size)
        if not torch.cuda.is_available():
            self._loader_config.pop("pin_memory", None)

    def batches(self) -> Iterator[Any]:
        """Batches of a new loader, without end."""
        return iter(Runner.build_dataloader(self._loader_config))

    def step(self, batch: Any) -> None:
        """Preprocessing, forward pass, backward pass and update."""
        self._model.train_step(batch, self.optim_wrapper)

    def time_steps(self, batches: Iterator[Any], *, steps: int, warmup: int) -> list[float]:
        """Seconds of each of `steps` consecutive steps with their loading, after `warmup` untimed ones."""
        for _ in range(warmup):
            self.step(next(batches))
        clock = _StepClock()
        for _ in range(steps):
            self.step(next(batches))
            clock.mark()
        return clock.seconds()


class _StepClock:
    """Times between marks. On a GPU it records events, so that the CPU does not wait for each step."""

    def __init__(self) -> None:
        self._on_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()
        if self._on_gpu:
            torch.cuda.synchronize()
        self._marks: list[Any] = []
        self.mark()

    def mark(self) -> None:
        """One step ends here and the next begins."""
        if self._on_gpu:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self._marks.append(event)
        else:
            self._marks.append(time.perf_counter())

    def seconds(self) -> list[float]:
        """Seconds between consecutive marks."""
        pairs = itertools.pairwise(self._marks)
        if not self._on_gpu:
            return [end - start for start, end in pairs]
        torch.cuda.synchronize()
        return [start.elapsed_time(end) / 1000 for start, end in pairs]


def _wrap(config: Config, model: BaseModel) -> Any:
    options = dict(config.model_wrapper_cfg)
    if torch.cuda.is_available():
        options.setdefault("device_ids", [torch.cuda.current_device()])
    return MODEL_WRAPPERS.build({**options, "module": model})


def sum_over_processes(value: float) -> float:
    """The sum of every process's value; the value itself in a single process."""
    if not is_distributed():
        return value
    values: list[Any] = [None] * get_world_size()
    distributed.all_gather_object(values, value)
    return float(sum(values))
