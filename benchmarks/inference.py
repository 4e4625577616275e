"""Prediction: times from head outputs and from files, by stage, and memory, of ours and of mmdet's."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.structures import InstanceData
from torch import Tensor

from benchmarks.datasets import dataset_config, inner_dataset, spread_indices
from benchmarks.generated import GeneratedOutputs
from benchmarks.predictors import (
    STAGES,
    Predictor,
    Size,
    build_predictors,
    check_detections,
    check_encodings,
    check_outputs,
)
from benchmarks.rows import Measurements, Row, check_options, count_row, measure_rows, rate_row, time_row
from benchmarks.timing import Progress, Stages, Work, peak_memory, time_interleaved
from solo.config import load_config
from solo.deployment import DeploymentOptions
from solo.masks.resize_taps import MASK_STRIDE
from solo.models.preprocessor import SIZE_DIVISOR
from solo.registry import DATASETS, TRANSFORMS

CANDIDATES, CROWD = 300, 1000
IMAGE_SIZE = (480, 640)


def benchmark_inference(
    config_path: str,
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
    rows: Sequence[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> list[Row]:
    """Measure the prediction of a config, alone or interleaved with mmdet's.

    Without a checkpoint weights are random, and the network's outputs, once computed, are replaced by generated ones
    (`GeneratedOutputs`, 300 candidates): random weights detect nothing. Every ratio comes with an assertion that both
    compute the same: network outputs within 1e-4 of the largest, labels equal, scores within 1e-5, at most 1e-5 of the
    masks' pixels different, RLEs of the same bitmaps equal character by character. Against mmdet `min_area_factor` is
    1, as there.

    Args:
        config_path: the config file.
        checkpoint: weights; None for random ones.
        against: "mmdet", or None to measure ours alone.
        repetitions: timed repetitions.
        warmup: repetitions before those.
        data: folder of a data set in COCO's layout, "drawn", "crowded:N" for N objects an image, or None for the data
            of the config; its validation images are predicted.
        images: number of images, spread over the data set and predicted in rotation.
        batch_size: images per repetition.
        device: "cpu", "cuda", ...; None for the GPU if there is one.
        deployment: options of our network; None for the recommended ones.
        rows: names of the rows to measure, None for all; `latency`, `stages` and `images_per_second` select the rows
            whose names contain the config's name.
        overrides: config values by dotted key.

    Returns:
        The rows predict_by_feat, rle, head_to_rle (all from head outputs of 300 candidates for an image of 640x480),
        latency_<config> (files to bitmaps) with images_per_second_<config>, latency_<config>/<stage> for each of
        `STAGES`, and peak_memory_predict (1,000 candidates, from head outputs to bitmaps).

    Raises:
        UserError: config, checkpoint or data cannot be used.
        AssertionError: the implementations do not compute the same.
    """
    check_options(against=against, repetitions=repetitions, warmup=warmup, images=images, batch_size=batch_size)
    config = load_config(config_path, overrides=overrides)
    name = f"latency_{Path(config_path).stem}"
    with tempfile.TemporaryDirectory() as folder:
        predictors = build_predictors(
            config, checkpoint=checkpoint, against=against, work_dir=folder, device=device, deployment=deployment
        )
        heads = _HeadCase(config, predictors)
        timing = dict(repetitions=repetitions, warmup=warmup)

        def files() -> _FileCase:
            paths = image_paths(config, data=data, images=images, work_dir=folder)
            generated = GeneratedOutputs(config.model, num_candidates=CANDIDATES) if checkpoint is None else None
            return _FileCase(predictors, paths, generated=generated, batch_size=batch_size)

        measurements: Measurements = {
            ("predict_by_feat",): lambda: [heads.time_predict(**timing)],
            ("rle",): lambda: [heads.time_encode(**timing)],
            ("head_to_rle",): lambda: [heads.time_predict_encoded(**timing)],
            ("latency", "images_per_second"): lambda: files().time(name, **timing),
            ("stages",): lambda: files().time_stages(name, **timing),
            ("peak_memory_predict",): lambda: [heads.measure_memory()],
        }
        return measure_rows(measurements, rows)


class _HeadCase:
    """Both implementations from the same generated head outputs."""

    def __init__(self, config: Config, predictors: Sequence[Predictor]) -> None:
        self._model, self._predictors = config.model, predictors
        sizes = _sizes(config)
        self._sizes = dict(image_size=sizes[0], original_size=IMAGE_SIZE)
        self._mask_size = sizes[1]
        self._outputs = self._outputs_for(CANDIDATES)

    def time_predict(self, *, repetitions: int, warmup: int) -> Row:
        check_detections(*_both([[result] for result in self._detections()]))
        works = [self._detect(*pair) for pair in zip(self._predictors, self._outputs, strict=True)]
        return _time("predict_by_feat", works, repetitions=repetitions, warmup=warmup)

    def time_encode(self, *, repetitions: int, warmup: int) -> Row:
        """Equality is asserted on the same bitmaps; each implementation is timed with its own memory layout."""
        found = [result.masks for result in self._detections()]
        check_encodings(*_both([predictor.encode(found[0]) for predictor in self._predictors]), exactly=True)
        works = [_encode(*pair) for pair in zip(self._predictors, found, strict=True)]
        return _time("rle", works, repetitions=repetitions, warmup=warmup)

    def time_predict_encoded(self, *, repetitions: int, warmup: int) -> Row:
        def work(predictor: Predictor, outputs: Any) -> Work:
            return lambda: predictor.detect_encoded(outputs, **self._sizes)

        works = [work(*pair) for pair in zip(self._predictors, self._outputs, strict=True)]
        check_encodings(*_both([work() for work in works]), exactly=False)
        return _time("head_to_rle", works, repetitions=repetitions, warmup=warmup)

    def measure_memory(self) -> Row:
        outputs = self._outputs_for(CROWD)
        works = [self._detect(*pair) for pair in zip(self._predictors, outputs, strict=True)]
        check_detections(*_both([[work()] for work in works]))
        return count_row("peak_memory_predict", "MiB", *(peak_memory(work) / 2**20 for work in works))

    def _outputs_for(self, candidates: int) -> list[Any]:
        outputs = GeneratedOutputs(self._model, num_candidates=candidates).for_size(*self._mask_size)
        return [predictor.convert_outputs(outputs) for predictor in self._predictors]

    def _detections(self) -> list[InstanceData]:
        pairs = zip(self._predictors, self._outputs, strict=True)
        return [self._detect(*pair)() for pair in pairs]

    def _detect(self, predictor: Predictor, outputs: Any) -> Callable[[], InstanceData]:
        return lambda: predictor.detect(outputs, **self._sizes)


class _FileCase:
    """Both implementations from the same image files."""

    def __init__(
        self,
        predictors: Sequence[Predictor],
        paths: Sequence[str],
        *,
        generated: GeneratedOutputs | None,
        batch_size: int,
    ) -> None:
        self._predictors, self._batch_size = predictors, batch_size
        cycle = itertools.cycle(paths)
        count = max(1, len(paths) // batch_size)
        self._batches = [list(itertools.islice(cycle, batch_size)) for _ in range(count)]
        self._check_networks()
        for predictor in predictors:
            predictor.replace_outputs(generated)
        for batch in self._batches:
            check_detections(*_both([predictor.predict(batch) for predictor in predictors]))

    def time(self, name: str, *, repetitions: int, warmup: int) -> list[Row]:
        """Milliseconds per repetition, and images per second."""

        def works(predictor: Predictor) -> Callable[[], Work]:
            batches = itertools.cycle(self._batches)

            def prepare() -> Work:
                batch = next(batches)
                return lambda: predictor.predict(batch)

            return prepare

        preparations = [works(predictor) for predictor in self._predictors]
        seconds = time_interleaved(*preparations, repetitions=repetitions, warmup=warmup, name=name)
        rates = [[self._batch_size / taken for taken in own] for own in seconds]
        rate_name = name.replace("latency", "images_per_second", 1)
        return [time_row(name, *seconds), rate_row(rate_name, "images/s", *rates)]

    def time_stages(self, name: str, *, repetitions: int, warmup: int) -> list[Row]:
        """Milliseconds of each stage of a repetition, the encoding of its bitmaps included."""
        timers = [Stages(predictor.timed_functions()) for predictor in self._predictors]
        seconds: dict[str, list[list[float]]] = {stage: [[] for _ in timers] for stage in STAGES}
        progress = Progress(f"{name}, stages", total=warmup + repetitions)
        batches = itertools.cycle(self._batches)
        for repetition in range(-warmup, repetitions):
            batch = next(batches)
            for which, (predictor, stages) in enumerate(zip(self._predictors, timers, strict=True)):
                stages.reset()
                _run_in_stages(predictor, stages, batch)
                for stage, taken in seconds.items():
                    taken[which] += [stages.seconds[stage]] * (repetition >= 0)
            progress.done(repetition + warmup + 1)
        return [time_row(f"{name}/{stage}", *taken) for stage, taken in seconds.items()]

    def _check_networks(self) -> None:
        for predictor in self._predictors:
            predictor.replace_outputs(None)
            predictor.predict(self._batches[0])
        check_outputs(*_both([predictor.outputs() for predictor in self._predictors]))


def _run_in_stages(predictor: Predictor, stages: Stages, batch: Sequence[str]) -> None:
    with stages.timing(), stages.stage("other"):
        results = predictor.predict(batch)
        with stages.stage("rle"):
            for result in results:
                predictor.encode(result.masks.bool())


def _time(name: str, works: Sequence[Work], *, repetitions: int, warmup: int) -> Row:
    def ready(work: Work) -> Callable[[], Work]:
        return lambda: work

    return time_row(name, *time_interleaved(*map(ready, works), repetitions=repetitions, warmup=warmup, name=name))


def _encode(predictor: Predictor, masks: Tensor) -> Work:
    return lambda: predictor.encode(masks)


def _both(results: Sequence[Any]) -> tuple[Any, Any]:
    """Ours and mmdet's, or ours twice without a comparison."""
    return results[0], results[-1]


def _sizes(config: Config) -> tuple[Size, Size]:
    """Sizes of the resized image and of its mask features for an image of `IMAGE_SIZE` in the config's pipeline."""
    steps = inner_dataset(config, "val")["pipeline"]
    pipeline = Compose([TRANSFORMS.build(step) for step in steps])
    sample = cast(Any, pipeline(dict(img=np.zeros((*IMAGE_SIZE, 3), np.uint8), img_path=None, img_id=0)))
    height, width = sample["inputs"].shape[-2:]
    padded = (height + -height % SIZE_DIVISOR, width + -width % SIZE_DIVISOR)
    return (height, width), (padded[0] // MASK_STRIDE, padded[1] // MASK_STRIDE)


def image_paths(config: Config, *, data: str | None, images: int, work_dir: str) -> list[str]:
    """Image files of the validation data, spread over it."""
    dataset = DATASETS.build(dataset_config(config, split="val", data=data, work_dir=work_dir))
    count = min(images, len(dataset))
    return [dataset.get_data_info(index)["img_path"] for index in spread_indices(len(dataset), count)]
