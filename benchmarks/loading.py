"""Loading: times of samples by transform, bytes that a worker sends, images per second by number of workers."""

from __future__ import annotations

import copy
import os
import pickle
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from benchmarks.datasets import Split, dataset_config, spread_indices
from benchmarks.mmdet_reference import OUR_TRANSFORMS, mmdet_pipeline, mmdet_validation_pipeline
from benchmarks.rows import Measurements, Row, check_options, count_row, measure_rows, rate_row, time_row
from benchmarks.timing import Progress, Stages, TimedFunction, time_interleaved
from benchmarks.training import ROUNDS
from solo.config import load_config
from solo.errors import ConfigError
from solo.registry import DATASETS, SCOPE

IMAGES = 30
OTHER = "other"


def benchmark_data(
    config_path: str,
    *,
    against: str | None = None,
    repetitions: int = 9,
    warmup: int = 1,
    data: str | None = None,
    split: Split = "train",
    images: int = IMAGES,
    batch_size: int | None = None,
    workers: Sequence[int] | None = None,
    rows: Sequence[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> list[Row]:
    """Measure a config's data pipeline, alone or interleaved with mmdet's over the same images.

    Against mmdet image and labels of every sample are asserted to be equal. In the split "val" mmdet's pipeline loads
    the annotations, as in its configs.

    Args:
        config_path: the config file.
        against: "mmdet", or None to measure ours alone.
        repetitions: timed repetitions; of the loaders batches per round, in three rounds.
        warmup: repetitions, or batches, before those.
        data: folder of a data set in COCO's layout, "drawn", "crowded:N" for N objects an image, or None for the data
            of the config.
        split: "train" or "val", selects loader and images.
        images: images over which sample, transform and sample_bytes are summed.
        batch_size: images per batch of the loaders; by default the config's.
        workers: numbers of worker processes to measure; by default 0 and the powers of two up to the number of cores.
        rows: names of the rows to measure, None for all; `loader` selects loader_<workers>_workers.
        overrides: config values by dotted key.

    Returns:
        The rows sample (milliseconds of all images), transform/<name>, sample_bytes (mean size of a pickled sample) and
        loader_<workers>_workers (images/s).

    Raises:
        UserError: config or data cannot be used.
        AssertionError: the implementations do not make the same samples.
    """
    counts = _worker_counts() if workers is None else list(workers)
    check_options(against=against, repetitions=repetitions, warmup=warmup, images=images, batch_size=batch_size)
    if min(counts) < 0:
        raise ConfigError(f"--workers must be at least 0, got {min(counts)}")
    config = load_config(config_path, overrides=overrides)
    init_default_scope(config.get("default_scope") or SCOPE)
    MMLogger.get_current_instance().setLevel("WARNING")
    timing = dict(repetitions=repetitions, warmup=warmup)
    with tempfile.TemporaryDirectory() as folder:
        options = dataset_config(config, split=split, data=data, work_dir=folder)
        both = [options]
        if against:
            translate = mmdet_pipeline if split == "train" else mmdet_validation_pipeline
            both.append({**options, "pipeline": translate(options["pipeline"])})
        case = _SampleCase([DATASETS.build(one) for one in both], images)
        measurements: Measurements = {
            ("sample",): lambda: [case.time(**timing)],
            ("transform",): lambda: case.time_transforms(**timing),
            ("sample_bytes",): lambda: [case.count_bytes()],
            ("loader",): lambda: [
                _time_loaders(config, both, split=split, workers=count, batch_size=batch_size, **timing)
                for count in counts
            ],
        }
        return measure_rows(measurements, rows)


class _SampleCase:
    """The same images of both data sets."""

    def __init__(self, datasets: Sequence[Any], images: int) -> None:
        self._datasets = list(datasets)
        self._indices = spread_indices(len(datasets[0]), min(images, len(datasets[0])))
        for index in self._indices:
            _check_samples(index, *(dataset[index] for dataset in (datasets[0], datasets[-1])))

    def time(self, *, repetitions: int, warmup: int) -> Row:
        def works(dataset: Any) -> Any:
            return lambda: lambda: [dataset[index] for index in self._indices]

        seconds = time_interleaved(*map(works, self._datasets), repetitions=repetitions, warmup=warmup, name="sample")
        return time_row("sample", *seconds)

    def time_transforms(self, *, repetitions: int, warmup: int) -> list[Row]:
        timers = [Stages(_timed_transforms(dataset)) for dataset in self._datasets]
        seconds: list[list[dict[str, float]]] = [[] for _ in timers]
        for repetition in range(-warmup, repetitions):
            for dataset, stages, taken in zip(self._datasets, timers, seconds, strict=True):
                found = self._stage_seconds(dataset, stages)
                if repetition >= 0:
                    taken.append(found)
        names = dict.fromkeys(name for own in seconds for taken in own for name in sorted(taken, key=_order(timers)))
        return [
            time_row(f"transform/{name}", *([taken.get(name, 0.0) for taken in own] for own in seconds))
            for name in names
        ]

    def _stage_seconds(self, dataset: Any, stages: Stages) -> dict[str, float]:
        stages.reset()
        with stages.timing(), stages.stage(OTHER):
            for index in self._indices:
                dataset[index]
        return dict(stages.seconds)

    def count_bytes(self) -> Row:
        sizes = [
            sum(len(pickle.dumps(dataset[index])) for index in self._indices) / len(self._indices)
            for dataset in self._datasets
        ]
        return count_row("sample_bytes", "bytes a sample", *sizes)


def _order(timers: Sequence[Stages]) -> Any:
    names = [function.stage for stages in timers for function in stages.functions]
    return lambda name: names.index(name) if name in names else len(names)


def _timed_transforms(dataset: Any) -> list[TimedFunction]:
    """A timer for each transform; mmdet's have the names of ours."""
    steps = [step for step in dataset.pipeline.transforms if hasattr(step, "transform")]
    names = [type(step).__name__ for step in steps]
    return [
        TimedFunction(step, "transform", OUR_TRANSFORMS.get(name, name))
        for step, name in zip(steps, names, strict=True)
    ]


def _check_samples(index: int, ours: Any, expected: Any) -> None:
    same = torch.equal(ours["inputs"], expected["inputs"])
    samples = [sample["data_samples"].get("gt_instances") for sample in (ours, expected)]
    if all(objects is not None and "labels" in objects for objects in samples):
        same &= np.array_equal(samples[0].labels, samples[1].labels)
    if not same:
        raise AssertionError(f"sample {index} differs from mmdet's")


def _time_loaders(
    config: Config,
    datasets: Sequence[Mapping[str, Any]],
    *,
    split: Split,
    workers: int,
    batch_size: int | None,
    repetitions: int,
    warmup: int,
) -> Row:
    name = f"loader_{workers}_workers"
    progress = Progress(name, total=ROUNDS * len(datasets))
    rates: list[list[float]] = [[] for _ in datasets]
    for round_index in range(ROUNDS):
        for which, dataset in enumerate(datasets):
            loader = copy.deepcopy(config[f"{split}_dataloader"])
            loader.update(dataset=dict(dataset), batch_size=batch_size or loader.batch_size, num_workers=workers)
            rates[which].append(_rate(loader, batches=repetitions, warmup=warmup))
            progress.done(round_index * len(datasets) + which + 1)
    return rate_row(name, "images/s", *rates)


def _rate(options: Any, *, batches: int, warmup: int) -> float:
    """Images per second of a new loader after its warmup; its sampler is infinite."""
    options.update(sampler=dict(type="InfiniteSampler", shuffle=True, seed=0), persistent_workers=False)
    options.pop("pin_memory", None)
    if options.num_workers == 0:
        options.pop("prefetch_factor", None)
    iterator = iter(Runner.build_dataloader(options))
    for _ in range(warmup):
        next(iterator)
    images, start = 0, time.perf_counter()
    for _ in range(batches):
        images += len(next(iterator)["inputs"])
    return images / (time.perf_counter() - start)


def _worker_counts() -> list[int]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return [0, *(2**power for power in range(cores.bit_length()))]
