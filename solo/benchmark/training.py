"""What a training step costs: counts, bytes and times, ours and a peer's on the same weights and images."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from solo.benchmark.contenders import Contender, build_contenders, fixed_features
from solo.benchmark.counters import OperationCounter, peak_memory
from solo.benchmark.measures import Measures, measured
from solo.benchmark.pairs import Row, Work, count_row, time_in_turns, time_row
from solo.benchmark.same_training import TrainingCase
from solo.config import load_config

_STEP = "train_step"


def benchmark_training(
    config_path: str,
    *,
    against: str | None = None,
    pairs: int = 9,
    warmup: int = 1,
    data: str | None = None,
    batch_size: int | None = None,
    rows: Sequence[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> list[Row]:
    """Measure the training of a config on the CPU, alone or in turns with a peer.

    Against mmdet the mask loss is normalised as mmdet does (`mask_loss_norm="cells"`). Every ratio stands beside an
    assertion that both compute the same: targets bit for bit, losses within 1e-5, gradients within 1e-3 of each
    parameter's largest.

    Args:
        config_path: the config file.
        against: "mmdet", or None to measure ours alone.
        pairs: turns of each timing.
        warmup: turns before those.
        data: folder of a data set in COCO's layout, "drawn", "crowded:N" for N objects an image, or None for the data
            of the config.
        batch_size: images a step; by default the config's.
        rows: names of the rows to measure, None for all; `train_step` stands for the one that bears the config's name.
        overrides: config values by dotted key.

    Returns:
        The rows host_syncs, ops_per_step, ops_per_step_with_views, mask_bytes, targets, sample_pipeline, mask_loss,
        train_step_<config> and peak_memory_train.

    Raises:
        UserError: config or data cannot be used.
        AssertionError: the two do not compute the same.
    """
    config = load_config(config_path, overrides=overrides)
    with tempfile.TemporaryDirectory() as folder:
        contenders = build_contenders(config, data=data, against=against, work_dir=folder)
        case = TrainingCase(contenders, batch_size or config.train_dataloader.batch_size)
        timing = dict(pairs=pairs, warmup=warmup)
        # In this order: the last two take steps, after which the contenders' weights differ by rounding.
        measures: Measures = {
            ("host_syncs", "ops_per_step", "ops_per_step_with_views"): lambda: _count_operations(case),
            ("mask_bytes",): lambda: [_count_mask_bytes(case)],
            ("targets", "sample_pipeline"): lambda: _time_pipeline(case, **timing),
            ("mask_loss",): lambda: [_time_mask_loss(case, **timing)],
            (_STEP,): lambda: [_time_step(case, f"{_STEP}_{Path(config_path).stem}", **timing)],
            ("peak_memory_train",): lambda: [_measure_memory(case)],
        }
        return measured(measures, rows)


def _count_operations(case: TrainingCase) -> list[Row]:
    """Operations of everything but preprocessing, backbone and neck; of the whole step, how often the host waits."""
    counters = []
    for contender, prepared in zip(case.contenders, case.prepared, strict=True):
        with fixed_features(contender.model, case.fresh_features()), OperationCounter() as counter:
            total, _ = contender.model.parse_losses(contender.losses(prepared))
            total.backward()
        counters.append(counter)

    def row(name: str, unit: str, count: Callable[[OperationCounter], float]) -> Row:
        return count_row(name, unit, *_pair([count(counter) for counter in counters]))

    return [
        row("host_syncs", "waits a step", lambda counter: len(counter.host_syncs)),
        row("ops_per_step", "operations", lambda counter: sum(counter.kernels.values())),
        row(
            "ops_per_step_with_views",
            "operations",
            lambda counter: sum(counter.kernels.values()) + sum(counter.views.values()),
        ),
    ]


def _count_mask_bytes(case: TrainingCase) -> Row:
    """What a worker process sends of a sample beside its image: masks, boxes, labels and where they come from."""
    sizes = [
        sum(len(pickle.dumps(sample)) for sample in batch["data_samples"]) / case.batch_size for batch in case.batches
    ]
    return count_row("mask_bytes", "bytes a sample", *_pair(sizes))


def _time_pipeline(case: TrainingCase, *, pairs: int, warmup: int) -> list[Row]:
    """The loader's work, and of it what the annotations cost together with the assignment in the step.

    The cost of the annotations is the difference between the pipeline with and without them.
    """

    def samples(dataset: Any) -> Work:
        return lambda: [dataset[index] for index in case.indices]

    works: list[Work] = []
    for contender, assign in zip(case.contenders, case.assignments(), strict=True):
        works += [samples(contender.dataset), samples(contender.image_dataset), assign]
    seconds = time_in_turns(*[_ready(work) for work in works], pairs=pairs, warmup=warmup)
    targets = []
    for whole, image_alone, assignment in zip(seconds[0::3], seconds[1::3], seconds[2::3], strict=True):
        turns = zip(whole, image_alone, assignment, strict=True)
        targets.append([max(with_objects - without, 0) + assign for with_objects, without, assign in turns])
    return [time_row("targets", *_pair(targets)), time_row("sample_pipeline", *_pair(seconds[0::3]))]


def _time_mask_loss(case: TrainingCase, *, pairs: int, warmup: int) -> Row:
    """Forward and backward of the mask loss from given outputs and targets; the class loss runs forward with it."""
    return time_row("mask_loss", *_pair(time_in_turns(*case.mask_losses(), pairs=pairs, warmup=warmup)))


def _time_step(case: TrainingCase, name: str, *, pairs: int, warmup: int) -> Row:
    """Preprocessing, forward, backward, clipping and update of a batch that the loader has handed over."""

    def steps(contender: Contender, batch: Mapping[str, Any]) -> Callable[[], Work]:
        return lambda: contender.training_step(batch)

    preparations = [steps(*both) for both in zip(case.contenders, case.batches, strict=True)]
    return time_row(name, *_pair(time_in_turns(*preparations, pairs=pairs, warmup=warmup)))


def _measure_memory(case: TrainingCase) -> Row:
    """The most that one step takes on top of model and optimizer state, after a first step has made that state."""
    sizes = []
    for contender, batch in zip(case.contenders, case.batches, strict=True):
        contender.training_step(batch)()
        sizes.append(peak_memory(contender.training_step(batch)) / 2**20)
    return count_row("peak_memory_train", "MiB", *_pair(sizes))


def _ready(work: Work) -> Callable[[], Work]:
    return lambda: work


def _pair(values: list[Any]) -> tuple[Any, Any]:
    return values[0], values[1] if len(values) > 1 else None
