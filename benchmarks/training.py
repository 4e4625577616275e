"""What a training step costs: counts, bytes and times, ours and a peer's on the same weights and images."""

from __future__ import annotations

import copy
import pickle
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from benchmarks.contenders import Contender, build_contenders
from benchmarks.measures import Measures, check_options, measured
from benchmarks.pairs import Progress, Row, Work, count_row, peak_memory, time_in_turns, time_row
from benchmarks.same_training import TargetsCase, TrainingCase, spread
from solo.config import load_config
from solo.config.overrides import use_amp
from solo.engine.distributed import process_group
from solo.engine.throughput import measure_throughput
from solo.errors import ConfigError
from tests.helpers.counters import OperationCounter, fixed_features

_STEP, _THROUGHPUT = "train_step", "throughput"
PIPELINE_IMAGES = 30


def benchmark_training(
    config_path: str,
    *,
    against: str | None = None,
    pairs: int = 9,
    warmup: int = 1,
    data: str | None = None,
    batch_size: int | None = None,
    images: int = PIPELINE_IMAGES,
    amp: bool = False,
    peer_amp: bool = True,
    channels_last: bool = False,
    compile: bool = False,
    device: str | None = None,
    launcher: str = "none",
    rows: Sequence[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> list[Row]:
    """Measure the training of a config, alone or in turns with a peer.

    Against mmdet the mask loss is normalised as mmdet does (`mask_loss_norm="cells"`). Every ratio stands beside an
    assertion that both compute the same: targets bit for bit, losses within 1e-5, gradients within 2e-3 of each
    parameter's largest; with mixed precision too they are compared in float32.

    Args:
        config_path: the config file.
        against: "mmdet", or None to measure ours alone.
        pairs: turns of each timing; of the throughput as many steps a turn, in three turns against a peer.
        warmup: turns, or steps, before those.
        data: folder of a data set in COCO's layout, "drawn", "crowded:N" for N objects an image, or None for the data
            of the config.
        batch_size: images a step; by default the config's.
        images: over how many images of the data, in batches, targets and sample_pipeline are summed.
        amp: mixed precision, as in `solo.engine.runner.train`.
        peer_amp: the peer too takes part in `amp`; else it trains as it does unasked, in float32.
        channels_last: the memory layout of our network.
        compile: `torch.compile` for our network.
        device: "cpu", "cuda", ...; None is the GPU where there is one.
        launcher: "none", "pytorch", "slurm" or "mpi": with several processes the throughput alone is measured.
        rows: names of the rows to measure, None for all; `train_step` and `throughput` stand for those that bear the
            config's name.
        overrides: config values by dotted key.

    Returns:
        The rows host_syncs, ops_per_step, ops_per_step_with_views, mask_bytes, targets, sample_pipeline, mask_loss,
        train_step_<config>, peak_memory_train, and those of `measure_throughput`.

    Raises:
        UserError: config or data cannot be used.
        AssertionError: the two do not compute the same.
    """
    check_options(against=against, pairs=pairs, warmup=warmup, images=images, batch_size=batch_size)
    if compile and against is not None:
        raise ConfigError("--compile: ours would be compared with a peer that is not compiled; leave --against out")
    if not peer_amp and not (amp and against):
        raise ConfigError("--peer-fp32: it needs --amp, which the peer is left out of, and --against")
    config = load_config(config_path, overrides=overrides)
    optim_wrapper = copy.deepcopy(config.optim_wrapper)
    _set_options(config, amp=amp, channels_last=channels_last, compile=compile)
    if rows is None and (compile or launcher != "none"):
        rows = [_THROUGHPUT]
    timing = dict(pairs=pairs, warmup=warmup)
    with process_group(config, launcher), tempfile.TemporaryDirectory() as folder:
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        size = batch_size or config.train_dataloader.batch_size

        @cache
        def contenders() -> list[Contender]:
            peer = None if peer_amp else optim_wrapper
            options: dict[str, Any] = dict(data=data, against=against, work_dir=folder, device=device)
            return build_contenders(config, peer_optim_wrapper=peer, **options)

        @cache
        def case() -> TrainingCase:
            return TrainingCase(contenders(), size)

        name = Path(config_path).stem

        def throughput() -> list[Row]:
            if against:
                case()  # asserts that both compute the same
            return measure_throughput(config, contenders(), name=name, batch_size=size, steps=pairs, warmup=warmup)

        # In this order: the last three take steps, after which the contenders' weights differ by rounding.
        measures: Measures = {
            ("host_syncs", "ops_per_step", "ops_per_step_with_views"): lambda: _count_operations(case()),
            ("mask_bytes",): lambda: [_count_mask_bytes(case())],
            ("targets", "sample_pipeline"): lambda: _time_pipelines(contenders(), size, images=images, **timing),
            ("mask_loss",): lambda: [_time_mask_loss(case(), **timing)],
            (_STEP,): lambda: [_time_step(case(), f"{_STEP}_{name}", **timing)],
            ("peak_memory_train",): lambda: [_measure_memory(case())],
            (_THROUGHPUT,): throughput,
        }
        return measured(measures, rows)


def _set_options(config: Config, *, amp: bool, channels_last: bool, compile: bool) -> None:
    if amp:
        use_amp(config)
    if channels_last or compile:
        hook = dict(type="NetworkOptionsHook", channels_last=channels_last, compile={} if compile else None)
        config.custom_hooks = [*config.get("custom_hooks", []), hook]


def _count_operations(case: TrainingCase) -> list[Row]:
    """Operations of everything but preprocessing, backbone and neck; of the whole step, how often the host waits."""
    counters = []
    for contender, prepared in zip(case.contenders, case.prepared, strict=True):
        with fixed_features(contender.model, case.fresh_features()), OperationCounter() as counter:
            total, _ = contender.model.parse_losses(contender.losses(prepared))
            total.backward()
        counters.append(counter)

    def row(name: str, unit: str, count: Callable[[OperationCounter], float]) -> Row:
        return count_row(name, unit, *(count(counter) for counter in counters))

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
    return count_row("mask_bytes", "bytes a sample", *sizes)


def _time_pipelines(
    contenders: Sequence[Contender], batch_size: int, *, images: int, pairs: int, warmup: int
) -> list[Row]:
    """The loader's work, and of it what the annotations cost together with the assignment in the step, over images.

    The cost of the annotations is the difference between the pipeline with and without them. Batches are measured one
    after the other, each in turns; the turns' times are summed over them.
    """
    indices = spread(len(contenders[0].dataset), min(images, len(contenders[0].dataset)))
    sums = [[0.0] * pairs for _ in range(3 * len(contenders))]
    progress = Progress("targets, sample_pipeline", total=len(indices))
    for start in range(0, len(indices), batch_size):
        case = TargetsCase(contenders, indices[start : start + batch_size])
        for taken, total in zip(_pipeline_seconds(case, pairs=pairs, warmup=warmup), sums, strict=True):
            total[:] = [before + more for before, more in zip(total, taken, strict=True)]
        progress.done(min(start + batch_size, len(indices)))
    targets = []
    for whole, image_alone, assignment in zip(sums[0::3], sums[1::3], sums[2::3], strict=True):
        turns = zip(whole, image_alone, assignment, strict=True)
        targets.append([max(with_objects - without, 0) + assign for with_objects, without, assign in turns])
    return [time_row("targets", *targets), time_row("sample_pipeline", *sums[0::3])]


def _pipeline_seconds(case: TargetsCase, *, pairs: int, warmup: int) -> list[list[float]]:
    """Of each contender in turn: whole samples, samples without annotations, assignment.

    A loader's worker makes one sample after the other and runs nothing else. So each turn of samples finds the
    processor's caches as another image's sample, untimed, of the same contender leaves them, not as the other does.
    """

    def samples(dataset: Any) -> Callable[[], Work]:
        def prepare() -> Work:
            dataset[(max(case.indices) + 1) % len(dataset)]
            return lambda: [dataset[index] for index in case.indices]

        return prepare

    preparations: list[Callable[[], Work]] = []
    for contender, assign in zip(case.contenders, case.assignments(), strict=True):
        preparations += [samples(contender.dataset), samples(contender.image_dataset), _ready(assign)]
    return time_in_turns(*preparations, pairs=pairs, warmup=warmup)


def _time_mask_loss(case: TrainingCase, *, pairs: int, warmup: int) -> Row:
    """Forward and backward of the mask loss from given outputs and targets; the class loss runs forward with it."""
    return time_row("mask_loss", *time_in_turns(*case.mask_losses(), pairs=pairs, warmup=warmup, name="mask_loss"))


def _time_step(case: TrainingCase, name: str, *, pairs: int, warmup: int) -> Row:
    """Preprocessing, forward, backward, clipping and update of a batch that the loader has handed over."""

    def steps(contender: Contender, batch: Mapping[str, Any]) -> Callable[[], Work]:
        return lambda: contender.training_step(batch)

    preparations = [steps(*both) for both in zip(case.contenders, case.batches, strict=True)]
    return time_row(name, *time_in_turns(*preparations, pairs=pairs, warmup=warmup, name=name))


def _measure_memory(case: TrainingCase) -> Row:
    """The most that one step takes on top of model and optimizer state, after a first step has made that state."""
    sizes = []
    for contender, batch in zip(case.contenders, case.batches, strict=True):
        contender.training_step(batch)()
        sizes.append(peak_memory(contender.training_step(batch)) / 2**20)
    return count_row("peak_memory_train", "MiB", *sizes)


def _ready(work: Work) -> Callable[[], Work]:
    return lambda: work
