"""Training: counts, bytes and times of a step, of ours and of mmdet's on the same weights and images."""

from __future__ import annotations

import copy
import itertools
import pickle
import resource
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.registry import init_default_scope

from benchmarks.datasets import spread_indices
from benchmarks.rows import Measurements, Row, check_options, count_row, measure_rows, noise_of, quartiles, time_row
from benchmarks.timing import Progress, Stages, TimedFunction, Work, peak_memory, time_interleaved
from benchmarks.training_case import TargetsCase, TrainingCase, TrainingSetup, build_setups
from solo.config import load_config
from solo.engine.distributed import process_group
from solo.engine.throughput import TimedTraining, set_training_options, sum_over_processes
from solo.errors import ConfigError
from solo.registry import SCOPE
from tests.helpers.counters import OperationCounter, fixed_features

PIPELINE_IMAGES = 30
TRAINING_STAGES = ("loader", "preprocess", "forward", "backward", "update")
ROUNDS = 3
"""Rounds of a comparison of loaders: alternating step by step, the workers of one would disturb the other."""


def benchmark_training(
    config_path: str,
    *,
    against: str | None = None,
    repetitions: int = 9,
    warmup: int = 1,
    data: str | None = None,
    batch_size: int | None = None,
    images: int = PIPELINE_IMAGES,
    amp: bool = False,
    reference_amp: bool = True,
    channels_last: bool = False,
    compile: bool = False,
    device: str | None = None,
    launcher: str = "none",
    rows: Sequence[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> list[Row]:
    """Measure the training of a config, alone or interleaved with mmdet's.

    Against mmdet the mask loss has mmdet's normaliser (`mask_loss_norm="cells"`). Every ratio comes with an assertion
    that both compute the same: targets bit for bit, losses within 1e-5, gradients within 2e-3 of each parameter's
    largest; the comparison is in float32 with mixed precision as well.

    Args:
        config_path: the config file.
        against: "mmdet", or None to measure ours alone.
        repetitions: timed repetitions; of the throughput steps per round.
        warmup: repetitions, or steps, before those.
        data: folder of a data set in COCO's layout, "drawn", "crowded:N" for N objects an image, or None for the data
            of the config.
        batch_size: images per step; by default the config's.
        images: images over which targets and sample_pipeline are summed, in batches.
        amp: mixed precision, as in `solo.engine.training.train`.
        reference_amp: apply `amp` to mmdet as well; otherwise it trains in float32.
        channels_last: the memory layout of our network.
        compile: `torch.compile` for our network.
        device: "cpu", "cuda", ...; None for the GPU if there is one.
        launcher: "none", "pytorch", "slurm" or "mpi": with several processes the throughput alone is measured.
        rows: names of the rows to measure, None for all; `train_step` and `throughput` select the rows whose names
            contain the config's name.
        overrides: config values by dotted key.

    Returns:
        The rows host_syncs, ops_per_step, ops_per_step_with_views, mask_bytes, targets, sample_pipeline, mask_loss,
        train_step_<config>, peak_memory_train, images_per_second_train_<config> (of all processes together),
        images_per_second_process (their mean), step_with_loader and step_with_loader/<stage> (of this process), and
        for ours alone peak_memory_host and peak_memory_device (of this process).

    Raises:
        UserError: config or data cannot be used.
        AssertionError: the implementations do not compute the same.
    """
    check_options(against=against, repetitions=repetitions, warmup=warmup, images=images, batch_size=batch_size)
    if compile and against is not None:
        raise ConfigError("--compile: mmdet would not be compiled in the comparison; leave --against out")
    if not reference_amp and not (amp and against):
        raise ConfigError("--peer-fp32 keeps mmdet in float32 beside --amp: it needs --amp and --against")
    config = load_config(config_path, overrides=overrides)
    init_default_scope(config.get("default_scope") or SCOPE)
    optim_wrapper = copy.deepcopy(config.optim_wrapper)
    set_training_options(config, amp=amp, channels_last=channels_last, compile=compile)
    if rows is None and (compile or launcher != "none"):
        rows = ["throughput"]
    timing = dict(repetitions=repetitions, warmup=warmup)
    with process_group(config, launcher), tempfile.TemporaryDirectory() as folder:
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        size = batch_size or config.train_dataloader.batch_size

        @cache
        def setups() -> list[TrainingSetup]:
            options: dict[str, Any] = dict(data=data, against=against, work_dir=folder, device=device)
            return build_setups(config, reference_optim_wrapper=None if reference_amp else optim_wrapper, **options)

        @cache
        def case() -> TrainingCase:
            return TrainingCase(setups(), size)

        name = Path(config_path).stem

        def throughput() -> list[Row]:
            if against:
                case()  # asserts that both compute the same
            return _measure_throughput(config, setups(), name=name, batch_size=size, steps=repetitions, warmup=warmup)

        # The last three take steps, after which the weights of both differ by rounding: keep the order.
        measurements: Measurements = {
            ("host_syncs", "ops_per_step", "ops_per_step_with_views"): lambda: _count_operations(case()),
            ("mask_bytes",): lambda: [_count_mask_bytes(case())],
            ("targets", "sample_pipeline"): lambda: _time_pipelines(setups(), size, images=images, **timing),
            ("mask_loss",): lambda: [_time_mask_loss(case(), **timing)],
            ("train_step",): lambda: [_time_step(case(), f"train_step_{name}", **timing)],
            ("peak_memory_train",): lambda: [_measure_memory(case())],
            ("throughput",): throughput,
        }
        return measure_rows(measurements, rows)


def _count_operations(case: TrainingCase) -> list[Row]:
    """Count the operations and host synchronisations of forward and backward behind backbone and neck."""
    counters = []
    for setup, inputs in zip(case.setups, case.inputs, strict=True):
        with fixed_features(setup.model, case.fresh_features()), OperationCounter() as counter:
            total, _ = setup.model.parse_losses(setup.losses(inputs))
            total.backward()
        counters.append(counter)
    kernels = [sum(counter.kernels.values()) for counter in counters]
    views = [sum(counter.views.values()) for counter in counters]
    return [
        count_row("host_syncs", "waits a step", *(len(counter.host_syncs) for counter in counters)),
        count_row("ops_per_step", "operations", *kernels),
        count_row("ops_per_step_with_views", "operations", *map(sum, zip(kernels, views, strict=True))),
    ]


def _count_mask_bytes(case: TrainingCase) -> Row:
    """Count the bytes that a worker sends for a sample besides its image: masks, boxes, labels and metadata."""
    sizes = [
        sum(len(pickle.dumps(sample)) for sample in batch["data_samples"]) / case.batch_size for batch in case.batches
    ]
    return count_row("mask_bytes", "bytes a sample", *sizes)


def _time_pipelines(
    setups: Sequence[TrainingSetup], batch_size: int, *, images: int, repetitions: int, warmup: int
) -> list[Row]:
    """Time whole samples, and of them what annotations cost together with the assignment in the step.

    The cost of the annotations is the difference between the pipeline with and without them. Each batch is timed in
    interleaved repetitions; the times of a repetition are summed over the batches.
    """
    indices = spread_indices(len(setups[0].dataset), min(images, len(setups[0].dataset)))
    sums = [[0.0] * repetitions for _ in range(3 * len(setups))]
    progress = Progress("targets, sample_pipeline", total=len(indices))
    for start in range(0, len(indices), batch_size):
        case = TargetsCase(setups, indices[start : start + batch_size])
        for taken, total in zip(_pipeline_seconds(case, repetitions=repetitions, warmup=warmup), sums, strict=True):
            total[:] = [before + more for before, more in zip(total, taken, strict=True)]
        progress.done(min(start + batch_size, len(indices)))
    targets = [
        [max(whole - image_alone, 0) + assign for whole, image_alone, assign in zip(*times, strict=True)]
        for times in zip(sums[0::3], sums[1::3], sums[2::3], strict=True)
    ]
    return [time_row("targets", *targets), time_row("sample_pipeline", *sums[0::3])]


def _pipeline_seconds(case: TargetsCase, *, repetitions: int, warmup: int) -> list[list[float]]:
    """For each setup seconds of whole samples, of samples without annotations, and of the assignment.

    A loader's worker makes one sample after the other and runs nothing else. So before each repetition the same setup
    makes another image's sample, untimed, which leaves the CPU's caches as a worker would.
    """

    def samples(dataset: Any) -> Callable[[], Work]:
        def prepare() -> Work:
            dataset[(max(case.indices) + 1) % len(dataset)]
            return lambda: [dataset[index] for index in case.indices]

        return prepare

    def ready(work: Work) -> Callable[[], Work]:
        return lambda: work

    preparations: list[Callable[[], Work]] = []
    for setup, assign in zip(case.setups, case.assignments(), strict=True):
        preparations += [samples(setup.dataset), samples(setup.image_dataset), ready(assign)]
    return time_interleaved(*preparations, repetitions=repetitions, warmup=warmup)


def _time_mask_loss(case: TrainingCase, **timing: int) -> Row:
    """Time forward and backward of the mask loss from given outputs and targets; the class loss has its forward."""
    return time_row("mask_loss", *time_interleaved(*case.mask_losses(), name="mask_loss", **timing))


def _time_step(case: TrainingCase, name: str, **timing: int) -> Row:
    """Time preprocessing, forward, backward, clipping and update of a batch from the loader."""

    def steps(setup: TrainingSetup, batch: Mapping[str, Any]) -> Callable[[], Work]:
        return lambda: setup.training_step(batch)

    preparations = map(steps, case.setups, case.batches)
    return time_row(name, *time_interleaved(*preparations, name=name, **timing))


def _measure_memory(case: TrainingCase) -> Row:
    """Measure the most a step takes on top of model and optimizer state, which a first step creates."""
    sizes = []
    for setup, batch in zip(case.setups, case.batches, strict=True):
        setup.training_step(batch)()
        sizes.append(peak_memory(setup.training_step(batch)) / 2**20)
    return count_row("peak_memory_train", "MiB", *sizes)


def _measure_throughput(
    config: Config, setups: Sequence[TrainingSetup], *, name: str, batch_size: int, steps: int, warmup: int
) -> list[Row]:
    """Time steps with their loader; their stages are timed in other steps, since the timers wait for a GPU."""
    rounds = ROUNDS if len(setups) > 1 else 1
    trainings = [
        TimedTraining(
            config,
            model=setup.model,
            optim_wrapper=setup.optim_wrapper,
            dataset=setup.dataset_config,
            batch_size=batch_size,
        )
        for setup in setups
    ]
    timers = [Stages(_timed_functions(setup)) for setup in setups]
    progress = Progress("throughput", total=rounds * len(setups))
    seconds: list[list[list[float]]] = [[] for _ in setups]
    stages: list[list[dict[str, float]]] = [[] for _ in setups]
    for round_index, (index, training) in itertools.product(range(rounds), enumerate(trainings)):
        batches = training.batches()
        seconds[index].append(training.time_steps(batches, steps=steps, warmup=warmup))
        stages[index] += [_time_stages(training, timers[index], batches) for _ in range(steps)]
        progress.done(round_index * len(setups) + index + 1)
    rows = _rate_rows(seconds, name=name, images=batch_size * steps)
    rows.append(time_row("step_with_loader", *([*itertools.chain(*rounds)] for rounds in seconds)))
    for stage in TRAINING_STAGES:
        taken = [[step.get(stage, 0.0) for step in own] for own in stages]
        rows.append(time_row(f"step_with_loader/{stage}", *taken))
    return rows if len(setups) > 1 else rows + _process_memory()


def _timed_functions(setup: TrainingSetup) -> list[TimedFunction]:
    return [
        TimedFunction(setup.model.data_preprocessor, "forward", "preprocess"),
        TimedFunction(setup.optim_wrapper, "backward", "backward"),
        TimedFunction(setup.optim_wrapper, "step", "update"),
    ]


def _time_stages(training: TimedTraining, stages: Stages, batches: Any) -> dict[str, float]:
    stages.reset()
    with stages.timing():
        with stages.stage("loader"):
            batch = next(batches)
        with stages.stage("forward"):
            training.step(batch)
    return dict(stages.seconds)


def _rate_rows(seconds: Sequence[Sequence[Sequence[float]]], *, name: str, images: int) -> list[Row]:
    """Images of all steps over the seconds of all steps, so that a loader's occasional stall counts.

    Args:
        seconds: of each step of each round of each setup.
        name: of the config.
        images: per round and process.
    """
    rates = [[sum_over_processes(images / sum(steps)) for steps in rounds] for rounds in seconds]
    totals = [statistics.harmonic_mean(own) for own in rates]
    noises = [noise_of([*itertools.chain(*rounds)]) for rounds in seconds]
    row = Row(f"images_per_second_train_{name}", "images/s", totals[0], noise=noises[0])
    if len(seconds) > 1:
        ratios = [ours / theirs for ours, theirs in zip(*rates, strict=True)]
        row = row._replace(peer=totals[1], ratio=statistics.median(ratios), spread=quartiles(ratios))
        row = row._replace(peer_noise=noises[1], equal=True)
    world = get_world_size()
    peer = None if row.peer is None else row.peer / world
    return [row, row._replace(name="images_per_second_process", ours=row.ours / world, peer=peer)]


def _process_memory() -> list[Row]:
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    rows = [Row("peak_memory_host", "MiB", kilobytes / 1024)]
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        rows.append(Row("peak_memory_device", "MiB", torch.cuda.max_memory_allocated() / 2**20))
    return rows
