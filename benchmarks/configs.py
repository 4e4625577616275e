"""Several configs in one run: times from image files to bitmaps, each beside the first."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.generated import GeneratedOutputs
from benchmarks.inference import CANDIDATES, image_paths
from benchmarks.predictors import Predictor, build_predictors
from benchmarks.rows import Measurements, Row, check_options, measure_rows, rate_row, time_row
from benchmarks.timing import Work, time_interleaved
from solo.config import load_config
from solo.deployment import DeploymentOptions
from solo.errors import ConfigError


def benchmark_configs(
    config_path: str,
    beside: Sequence[str],
    *,
    repetitions: int = 9,
    warmup: int = 1,
    data: str | None = None,
    images: int = 4,
    batch_size: int = 1,
    device: str | None = None,
    deployment: DeploymentOptions | None = None,
    rows: Sequence[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> list[Row]:
    """Measure the prediction of several configs in interleaved repetitions, on the same images.

    Weights are random, and the outputs of each network, once computed, are replaced by generated ones with 300
    candidates, as in `benchmark_inference`.

    Args:
        config_path: the config that the others are compared with, and whose data is used.
        beside: the other configs.
        repetitions: timed repetitions.
        warmup: repetitions before those.
        data: as for `benchmark_inference`; so are images and batch_size.
        images: number of images.
        batch_size: images per repetition.
        device: "cpu", "cuda", ...; None for the GPU if there is one.
        deployment: options of all networks; None for the recommended ones.
        rows: names of the rows to measure, None for all; `latency` and `images_per_second`.
        overrides: config values by dotted key, of every config.

    Returns:
        The rows latency_<config> and images_per_second_<config> of each config of `beside`. `equal` is None: other
        models detect other objects.

    Raises:
        UserError: a config or the data cannot be used, or two configs have one name.
    """
    check_options(against=None, repetitions=repetitions, warmup=warmup, images=images, batch_size=batch_size)
    configs = {}
    for path in (config_path, *beside):
        if (name := Path(path).stem) in configs:
            raise ConfigError(f"--beside: two configs are called {name}")
        configs[name] = load_config(path, overrides=overrides)
    with tempfile.TemporaryDirectory() as folder:
        predictors = {}
        for name, config in configs.items():
            (predictor,) = build_predictors(
                config, checkpoint=None, against=None, work_dir=folder, device=device, deployment=deployment
            )
            predictor.replace_outputs(GeneratedOutputs(config.model, num_candidates=CANDIDATES))
            predictors[name] = predictor
        first = next(iter(configs.values()))
        paths = image_paths(first, data=data, images=images, work_dir=folder)
        batches = [paths[start : start + batch_size] for start in range(0, len(paths), batch_size)]

        def measure() -> list[Row]:
            works = [_cycle(predictor, batches) for predictor in predictors.values()]
            seconds = time_interleaved(*works, repetitions=repetitions, warmup=warmup, name="configs")
            return _rows(dict(zip(predictors, seconds, strict=True)), count=batch_size)

        measurements: Measurements = {("latency", "images_per_second"): measure}
        return measure_rows(measurements, rows)


def _cycle(predictor: Predictor, batches: Sequence[Sequence[str]]) -> Callable[[], Work]:
    remaining = itertools.cycle(batches)

    def prepare() -> Work:
        batch = next(remaining)
        return lambda: predictor.predict(batch)

    return prepare


def _rows(seconds: Mapping[str, Sequence[float]], *, count: int) -> list[Row]:
    (_, first), *others = seconds.items()
    rates = {name: [count / each for each in taken] for name, taken in seconds.items()}
    times = [time_row(f"latency_{name}", taken, first) for name, taken in others]
    peer = next(iter(rates.values()))
    per_second = [rate_row(f"images_per_second_{name}", "images/s", rates[name], peer) for name, _ in others]
    return [row._replace(equal=None) for row in (*times, *per_second)]
