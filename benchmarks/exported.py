"""Exported files: times from image files to RLEs, beside mmdet or the checkpoint that they were made from."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.structures import InstanceData

import solo.runtime.model
from benchmarks.inference import image_paths
from benchmarks.predictors import Predictor, build_predictors
from benchmarks.rows import Measurements, Row, check_options, measure_rows, rate_row, time_row
from benchmarks.timing import Stages, TimedFunction, Work, time_interleaved
from solo.config import load_config
from solo.deployment import DeploymentOptions
from solo.errors import ConfigError
from solo.inference.instances import Instances
from solo.inference.predictor import SOLOPredictor
from solo.runtime.sessions import PRECISIONS, RuntimeOptions

SCORE_TOLERANCE, MIN_IOU, MIN_SHARE = 1e-3, 0.95, 0.99
"""Of equal detections, and their share: those at the limits of score and number may be others."""

STAGES = {
    "load": ("load", "preprocess"),
    "network": ("network",),
    "decode": ("decode", "nms"),
    "encode": ("resize", "rle"),
    "other": ("other",),
}
"""Stages of the rows, and those of `benchmarks.predictors.STAGES` that each consists of."""

Results = list[Instances]
Predict = Callable[[Sequence[str]], Any]


class Contender(NamedTuple):
    """Something that is timed.

    Attributes:
        predict: image files to RLEs.
        functions: of its stages.
        is_exact: computes in float32.
    """

    predict: Predict
    functions: list[TimedFunction]
    is_exact: bool = True


def benchmark_exported(
    config_path: str,
    exported: Sequence[str],
    *,
    checkpoint: str | None = None,
    against: str | None = None,
    repetitions: int = 9,
    warmup: int = 1,
    data: str | None = None,
    images: int = 4,
    batch_size: int = 1,
    device: str | None = None,
    deployment: DeploymentOptions | None = None,
    options: RuntimeOptions | None = None,
    rows: Sequence[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> list[Row]:
    """Measure exported files, all in one interleaved run.

    Args:
        config_path: the config, for its data and for mmdet's model.
        exported: the files; FILE@PRECISION runs a file in this precision instead of that of the options.
        checkpoint: the weights that they were exported from; None measures the files alone.
        against: "mmdet", or None to compare with the checkpoint.
        repetitions: timed repetitions.
        warmup: repetitions before those.
        data: as for `benchmark_inference`; so are images and batch_size.
        images: number of images.
        batch_size: images per repetition.
        device: "cpu", ...; None for the defaults.
        deployment: how the checkpoint is run; None for the recommended options.
        options: how the files are run; None for the defaults.
        rows: names of the rows to measure, None for all; `latency`, `images_per_second` and `stages`.
        overrides: config values by dotted key.

    Returns:
        The rows latency_<config>_<file> and images_per_second_<config>_<file> of each file, with mmdet also of the
        checkpoint, and latency_<config>_<file>/<stage> for each of `STAGES`, timed in repetitions of their own. Times
        are from image files to RLEs. `equal` is None for reduced precision.

    Raises:
        UserError: config, file, checkpoint or data cannot be used.
        AssertionError: a float32 file does not detect what the reference detects.
    """
    check_options(against=against, repetitions=repetitions, warmup=warmup, images=images, batch_size=batch_size)
    if against is not None and checkpoint is None:
        raise ConfigError("--exported with --against needs --checkpoint: mmdet gets its weights")
    config = load_config(config_path, overrides=overrides)
    files = dict(_open(file, device=device, options=options or RuntimeOptions()) for file in exported)
    for name, (predictor, _) in files.items():
        settings = predictor.model.metadata.postprocess
        factor, largest = settings.min_area_factor, settings.largest_component
        if against is not None and (factor != 1 or largest):
            raise ConfigError(
                f"{name} has min_area_factor {factor} and largest_component {largest}, mmdet 1 and False; export it "
                "with --cfg-options model.postprocess.min_area_factor=1.0 model.postprocess.largest_component=False"
            )
    contenders = {name: _exported_contender(*opened) for name, opened in files.items()}
    with tempfile.TemporaryDirectory() as folder:
        paths = image_paths(config, data=data, images=images, work_dir=folder)
        batches = [paths[start : start + batch_size] for start in range(0, len(paths), batch_size)]
        if checkpoint is not None:
            predictors = build_predictors(
                config, checkpoint=checkpoint, against=against, work_dir=folder, device=device, deployment=deployment
            )
            exact = {name: predictor for name, (predictor, _) in files.items() if contenders[name].is_exact}
            _check_all(batches, exact, predictors[-1])
            contenders |= dict(zip(("checkpoint", "mmdet"), map(_reference_contender, predictors), strict=False))
        peer = None if checkpoint is None else "mmdet" if against else "checkpoint"
        run = _Run(contenders, batches, peer=peer, stem=f"latency_{Path(config_path).stem}")
        measurements: Measurements = {
            ("latency", "images_per_second"): lambda: run.time(repetitions=repetitions, warmup=warmup),
            ("stages",): lambda: run.time_stages(repetitions=repetitions, warmup=warmup),
        }
        return measure_rows(measurements, rows)


class _Run:
    """Measurements of the same contenders on the same images, beside one of them, the peer."""

    def __init__(
        self, contenders: Mapping[str, Contender], batches: Sequence[Sequence[str]], *, peer: str | None, stem: str
    ) -> None:
        self._contenders, self._batches, self._peer, self._stem = contenders, batches, peer, stem

    def time(self, *, repetitions: int, warmup: int) -> list[Row]:
        """Milliseconds per repetition, and images per second."""
        works = (_cycle(contender.predict, self._batches) for contender in self._contenders.values())
        seconds = time_interleaved(*works, repetitions=repetitions, warmup=warmup, name="exported")
        taken = dict(zip(self._contenders, seconds, strict=True))
        count = len(self._batches[0])
        rows = self._rows("", taken)
        rate_name = self._stem.replace("latency", "images_per_second", 1)
        for row in [*rows]:
            name = row.name.removeprefix(f"{self._stem}_")
            sides = [taken[name], *([taken[self._peer]] if self._peer else [])]
            rates = [[count / each for each in own] for own in sides]
            rows.append(rate_row(f"{rate_name}_{name}", "images/s", *rates)._replace(equal=row.equal))
        return rows

    def time_stages(self, *, repetitions: int, warmup: int) -> list[Row]:
        """Milliseconds of each stage of a repetition."""
        timers = {name: Stages(contender.functions) for name, contender in self._contenders.items()}
        taken: dict[str, dict[str, list[float]]] = {stage: {name: [] for name in timers} for stage in STAGES}
        batches = itertools.cycle(self._batches)
        for repetition in range(-warmup, repetitions):
            batch = next(batches)
            for name, stages in timers.items():
                stages.reset()
                with stages.timing(), stages.stage("other"):
                    self._contenders[name].predict(batch)
                for stage, parts in STAGES.items():
                    total = sum(stages.seconds[part] for part in parts)
                    taken[stage][name] += [total] * (repetition >= 0)
        return [row for stage, seconds in taken.items() for row in self._rows(f"/{stage}", seconds)]

    def _rows(self, suffix: str, taken: Mapping[str, Sequence[float]]) -> list[Row]:
        """A row of each contender but the peer."""
        peer = taken[self._peer] if self._peer else None
        rows = []
        for name, contender in self._contenders.items():
            if name != self._peer:
                row = time_row(f"{self._stem}_{name}{suffix}", taken[name], peer)
                rows.append(row if contender.is_exact else row._replace(equal=None))
        return rows


def _open(file: str, *, device: str | None, options: RuntimeOptions) -> tuple[str, tuple[SOLOPredictor, bool]]:
    """The name of a file's rows, and the opened file with whether it computes in float32."""
    path, _, precision = file.rpartition("@")
    if precision in PRECISIONS:
        options = replace(options, precision=precision)
    else:
        path = file
    predictor = SOLOPredictor(path, device=device, deployment=options)
    name = Path(path).name + (f"@{precision}" if precision in PRECISIONS else "")
    is_exact = predictor.model.metadata.precision == "float32" and options.precision != "bfloat16"
    return name, (predictor, is_exact)


def _exported_contender(predictor: SOLOPredictor, is_exact: bool) -> Contender:
    functions = [
        TimedFunction(predictor.model, "read_image", "load"),
        TimedFunction(predictor.model, "_resize", "preprocess"),
        TimedFunction(predictor.model, "_batch", "preprocess"),
        TimedFunction(predictor.model.session, "run", "network"),
        TimedFunction(solo.runtime.model, "decode_raw", "decode"),
        TimedFunction(solo.runtime.model, "encode_resized_arrays", "resize"),
    ]
    return Contender(lambda paths: predictor(paths, batch_size=len(paths)), functions, is_exact)


def _reference_contender(predictor: Predictor) -> Contender:
    """Image files to RLEs; the checkpoint's predictor encodes masks without making bitmaps of them."""

    def encoded(paths: Sequence[str]) -> Any:
        return [predictor.encode(found.masks) for found in predictor.predict(paths)]

    functions = [*predictor.timed_functions(), TimedFunction(predictor, "encode", "rle")]
    return Contender(getattr(predictor, "predict_encoded", encoded), functions)


def _cycle(work: Predict, batches: Sequence[Sequence[str]]) -> Callable[[], Work]:
    remaining = itertools.cycle(batches)

    def prepare() -> Work:
        batch = next(remaining)
        return lambda: work(batch)

    return prepare


def _check_all(batches: Sequence[Sequence[str]], files: Mapping[str, SOLOPredictor], reference: Predictor) -> None:
    for batch in batches:
        expected = reference.predict(batch)
        for name, predictor in files.items():
            check_detections(name, predictor(batch, batch_size=len(batch)), expected)


def check_detections(name: str, found: Results, expected: Sequence[InstanceData]) -> None:
    """Assert that a file has the detections of the reference.

    Raises:
        AssertionError: less than `MIN_SHARE` of them have an equal one: a label, score and mask.
    """
    total = equal = 0
    for ours, theirs in zip(found, expected, strict=True):
        masks = torch.from_numpy(ours.to_bool())
        free = torch.ones(len(ours), dtype=torch.bool)
        total += max(len(ours), len(theirs.labels))
        for label, score, mask in zip(theirs.labels, theirs.scores, theirs.masks.bool(), strict=True):
            close = (torch.from_numpy(ours.scores) - score).abs() <= SCORE_TOLERANCE
            rows = (free & close & (torch.from_numpy(ours.labels) == label)).nonzero()[:, 0]
            overlap = (masks[rows] & mask).sum(dim=(1, 2)) / (masks[rows] | mask).sum(dim=(1, 2)).clamp(min=1)
            if len(rows) and overlap.max() >= MIN_IOU:
                free[rows[overlap.argmax()]] = False
                equal += 1
    if equal < MIN_SHARE * total:
        raise AssertionError(f"{name}: {equal} of {total} detections are those of the reference")
