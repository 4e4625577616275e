"""Exported files: times from image files to RLEs, beside mmdet or the checkpoint that they were made from."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.structures import InstanceData

from benchmarks.inference import image_paths
from benchmarks.predictors import Predictor, build_predictors
from benchmarks.rows import Row, check_options, rate_row, time_row
from benchmarks.timing import Work, time_interleaved
from solo.config import load_config
from solo.deployment import DeploymentOptions
from solo.errors import ConfigError
from solo.inference.instances import Instances
from solo.inference.predictor import SOLOPredictor
from solo.runtime.sessions import RuntimeOptions

SCORE_TOLERANCE, MIN_IOU, MIN_SHARE = 1e-3, 0.95, 0.99
"""Of equal detections, and their share: those at the limits of score and number may be others."""

Results = list[Instances]
Predict = Callable[[Sequence[str]], Any]


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
    overrides: Mapping[str, Any] | None = None,
) -> list[Row]:
    """Measure exported files, all in one interleaved run.

    Args:
        config_path: the config, for its data and for mmdet's model.
        exported: the files.
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
        overrides: config values by dotted key.

    Returns:
        A row latency_<config>_<file> and images_per_second_<config>_<file> of each file; with mmdet also
        latency_<config>_checkpoint. Times are from image files to RLEs. `equal` is None for reduced precision.

    Raises:
        UserError: config, file, checkpoint or data cannot be used.
        AssertionError: a float32 file does not detect what the reference detects.
    """
    check_options(against=against, repetitions=repetitions, warmup=warmup, images=images, batch_size=batch_size)
    if against is not None and checkpoint is None:
        raise ConfigError("--exported with --against needs --checkpoint: mmdet gets its weights")
    config = load_config(config_path, overrides=overrides)
    files = {Path(file).name: SOLOPredictor(file, device=device, deployment=options) for file in exported}
    for name, predictor in files.items():
        factor = predictor.model.metadata.postprocess.min_area_factor
        if against is not None and factor != 1:
            raise ConfigError(
                f"{name} has min_area_factor {factor}, mmdet 1; export it with "
                "--cfg-options model.postprocess.min_area_factor=1.0"
            )
    works: dict[str, Predict] = {name: _run_exported(predictor) for name, predictor in files.items()}
    with tempfile.TemporaryDirectory() as folder:
        paths = image_paths(config, data=data, images=images, work_dir=folder)
        batches = [paths[start : start + batch_size] for start in range(0, len(paths), batch_size)]
        if checkpoint is not None:
            predictors = build_predictors(
                config, checkpoint=checkpoint, against=against, work_dir=folder, device=device, deployment=deployment
            )
            works |= dict(zip(("checkpoint", "mmdet"), map(_run_reference, predictors), strict=False))
            exact = [name for name, predictor in files.items() if _is_exact(predictor, options)]
            _check_all(batches, {name: files[name] for name in exact}, predictors[-1])
        seconds = time_interleaved(
            *(_cycle(work, batches) for work in works.values()), repetitions=repetitions, warmup=warmup, name="exported"
        )
    taken = dict(zip(works, seconds, strict=True))
    peer = None if checkpoint is None else taken["mmdet" if against else "checkpoint"]
    rows: list[Row] = []
    for name in [*files, *(["checkpoint"] if against else [])]:
        stem = f"{Path(config_path).stem}_{name}"
        rates = [[batch_size / each for each in own] for own in (taken[name], *([peer] if peer else []))]
        own_rows = [time_row(f"latency_{stem}", taken[name], peer)]
        own_rows.append(rate_row(f"images_per_second_{stem}", "images/s", *rates))
        is_exact = name == "checkpoint" or _is_exact(files[name], options)
        rows += own_rows if is_exact else [row._replace(equal=None) for row in own_rows]
    return rows


def _is_exact(predictor: SOLOPredictor, options: RuntimeOptions | None) -> bool:
    """Whether a file is run in float32."""
    precision: str = predictor.model.metadata.precision
    return precision == "float32" and (options is None or options.precision == "float32")


def _run_exported(predictor: SOLOPredictor) -> Predict:
    return lambda paths: predictor(paths, batch_size=len(paths))


def _run_reference(predictor: Predictor) -> Predict:
    """Image files to RLEs; the checkpoint's predictor encodes masks without making bitmaps of them."""
    own = getattr(predictor, "predict_encoded", None)
    return own or (lambda paths: [predictor.encode(found.masks) for found in predictor.predict(paths)])


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
