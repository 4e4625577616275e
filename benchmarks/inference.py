"""What a prediction costs: from head outputs, from files, by stage, and in memory; ours and a peer's."""

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

from benchmarks.drawn_outputs import DrawnOutputs
from benchmarks.images import dataset_config, inner_dataset
from benchmarks.measures import Measures, check_options, measured
from benchmarks.pairs import Progress, Row, Work, count_row, peak_memory, rate_row, time_in_turns, time_row
from benchmarks.predictors import STAGES, Predictor, Size, build_predictors
from benchmarks.same_detections import check_detections, check_encodings, check_outputs
from benchmarks.stages import Stages
from solo.config import load_config
from solo.deployment import DeploymentOptions
from solo.masks.bitmaps import MASK_STRIDE
from solo.models.preprocessor import SIZE_DIVISOR
from solo.registry import DATASETS, TRANSFORMS

CANDIDATES, CROWD = 300, 1000
PICTURE_SIZE = (480, 640)


def benchmark_inference(
    config_path: str,
    *,
    checkpoint: str | None = None,
    against: str | None = None,
    pairs: int = 9,
    warmup: int = 1,
    data: str | None = None,
    images: int = 4,
    batch_size: int = 1,
    device: str | None = None,
    deployment: DeploymentOptions | None = None,
    rows: Sequence[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> list[Row]:
    """Measure the prediction of a config, alone or in turns with a peer.

    Without a checkpoint weights are drawn, and the outputs of the network, once it has computed them, are replaced by
    drawn ones (`DrawnOutputs`, 300 candidates): with those of drawn weights there would be nothing to detect. Every
    ratio stands beside an assertion that both compute the same: network outputs within 1e-4 of the largest, labels
    equal, scores within 1e-5, of the masks' pixels at most the share 1e-5 different, run lengths of the same bitmaps
    equal character by character. Against mmdet `min_area_factor` is 1, as it has it.

    Args:
        config_path: the config file.
        checkpoint: weights; None draws them.
        against: "mmdet", or None to measure ours alone.
        pairs: turns of each timing.
        warmup: turns before those.
        data: folder of a data set in COCO's layout, "drawn", "crowded:N" for N objects an image, or None for the data
            of the config; its validation images are predicted.
        images: how many of them, spread over the data set, by turns.
        batch_size: images of one turn.
        device: "cpu", "cuda", ...; None is the GPU where there is one.
        deployment: how our network is run; None for what is recommended on the device.
        rows: names of the rows to measure, None for all; `latency`, `stages` and `images_per_second` stand for those
            that bear the config's name.
        overrides: config values by dotted key.

    Returns:
        The rows predict_by_feat, rle, head_to_rle (all from head outputs of 300 candidates for a picture of 640x480),
        latency_<config> (files to bitmaps) with images_per_second_<config>, latency_<config>/<stage> for each of
        `STAGES`, and peak_memory_predict (1,000 candidates, from head outputs to bitmaps).

    Raises:
        UserError: config, checkpoint or data cannot be used.
        AssertionError: the two do not compute the same.
    """
    check_options(against=against, pairs=pairs, warmup=warmup, images=images, batch_size=batch_size)
    config = load_config(config_path, overrides=overrides)
    name = f"latency_{Path(config_path).stem}"
    with tempfile.TemporaryDirectory() as folder:
        predictors = build_predictors(
            config, checkpoint=checkpoint, against=against, work_dir=folder, device=device, deployment=deployment
        )
        heads = _HeadCase(config, predictors)
        timing = dict(pairs=pairs, warmup=warmup)

        def files() -> _FileCase:
            paths = _paths(config, data=data, images=images, work_dir=folder)
            drawn = DrawnOutputs(config.model, num_candidates=CANDIDATES) if checkpoint is None else None
            return _FileCase(predictors, paths, drawn=drawn, batch_size=batch_size)

        measures: Measures = {
            ("predict_by_feat",): lambda: [heads.time_predict(**timing)],
            ("rle",): lambda: [heads.time_encode(**timing)],
            ("head_to_rle",): lambda: [heads.time_predict_encoded(**timing)],
            ("latency", "images_per_second"): lambda: files().time(name, **timing),
            ("stages",): lambda: files().time_stages(name, **timing),
            ("peak_memory_predict",): lambda: [heads.measure_memory()],
        }
        return measured(measures, rows)


class _HeadCase:
    """Both sides before the same drawn head outputs."""

    def __init__(self, config: Config, predictors: Sequence[Predictor]) -> None:
        self._model, self._predictors = config.model, predictors
        sizes = _sizes(config)
        self._sizes = dict(image_size=sizes[0], original_size=PICTURE_SIZE)
        self._mask_size = sizes[1]
        self._outputs = self._own_outputs(CANDIDATES)

    def time_predict(self, *, pairs: int, warmup: int) -> Row:
        check_detections(*_each([[result] for result in self._detections()]))
        works = [self._detect(*side) for side in zip(self._predictors, self._outputs, strict=True)]
        return _time("predict_by_feat", works, pairs=pairs, warmup=warmup)

    def time_encode(self, *, pairs: int, warmup: int) -> Row:
        """Equality is asserted of the same bitmaps; each side is timed with its own, as they lie in its memory."""
        found = [result.masks for result in self._detections()]
        check_encodings(*_each([predictor.encode(found[0]) for predictor in self._predictors]), exactly=True)
        works = [_encode(*side) for side in zip(self._predictors, found, strict=True)]
        return _time("rle", works, pairs=pairs, warmup=warmup)

    def time_predict_encoded(self, *, pairs: int, warmup: int) -> Row:
        def work(predictor: Predictor, outputs: Any) -> Work:
            return lambda: predictor.detect_encoded(outputs, **self._sizes)

        works = [work(*side) for side in zip(self._predictors, self._outputs, strict=True)]
        check_encodings(*_each([work() for work in works]), exactly=False)
        return _time("head_to_rle", works, pairs=pairs, warmup=warmup)

    def measure_memory(self) -> Row:
        outputs = self._own_outputs(CROWD)
        works = [self._detect(*side) for side in zip(self._predictors, outputs, strict=True)]
        check_detections(*_each([[work()] for work in works]))
        return count_row("peak_memory_predict", "MiB", *(peak_memory(work) / 2**20 for work in works))

    def _own_outputs(self, candidates: int) -> list[Any]:
        drawn = DrawnOutputs(self._model, num_candidates=candidates).for_size(*self._mask_size)
        return [predictor.own_form(drawn) for predictor in self._predictors]

    def _detections(self) -> list[InstanceData]:
        sides = zip(self._predictors, self._outputs, strict=True)
        return [self._detect(predictor, outputs)() for predictor, outputs in sides]

    def _detect(self, predictor: Predictor, outputs: Any) -> Callable[[], InstanceData]:
        return lambda: predictor.detect(outputs, **self._sizes)


class _FileCase:
    """Both sides before the same image files."""

    def __init__(
        self, predictors: Sequence[Predictor], paths: Sequence[str], *, drawn: DrawnOutputs | None, batch_size: int
    ) -> None:
        self._predictors, self._batch_size = predictors, batch_size
        cycle = itertools.cycle(paths)
        count = max(1, len(paths) // batch_size)
        self._batches = [list(itertools.islice(cycle, batch_size)) for _ in range(count)]
        self._check_networks()
        for predictor in predictors:
            predictor.give(drawn)
        for batch in self._batches:
            check_detections(*_each([predictor.predict(batch) for predictor in predictors]))

    def time(self, name: str, *, pairs: int, warmup: int) -> list[Row]:
        """Milliseconds a turn, and images a second."""

        def works(predictor: Predictor) -> Callable[[], Work]:
            batches = itertools.cycle(self._batches)

            def prepare() -> Work:
                batch = next(batches)
                return lambda: predictor.predict(batch)

            return prepare

        preparations = [works(predictor) for predictor in self._predictors]
        seconds = time_in_turns(*preparations, pairs=pairs, warmup=warmup, name=name)
        rates = [[self._batch_size / taken for taken in turns] for turns in seconds]
        rate_name = name.replace("latency", "images_per_second", 1)
        return [time_row(name, *seconds), rate_row(rate_name, "images/s", *rates)]

    def time_stages(self, name: str, *, pairs: int, warmup: int) -> list[Row]:
        """Milliseconds of each stage of a turn, with the run lengths of its bitmaps."""
        timers = [Stages(predictor.timed_functions()) for predictor in self._predictors]
        seconds: dict[str, list[list[float]]] = {stage: [[] for _ in timers] for stage in STAGES}
        progress = Progress(f"{name}, stages", total=warmup + pairs)
        batches = itertools.cycle(self._batches)
        for turn in range(-warmup, pairs):
            batch = next(batches)
            for side, (predictor, stages) in enumerate(zip(self._predictors, timers, strict=True)):
                stages.reset()
                _run_in_stages(predictor, stages, batch)
                for stage, taken in seconds.items():
                    taken[side] += [stages.seconds[stage]] * (turn >= 0)
            progress.done(turn + warmup + 1)
        return [time_row(f"{name}/{stage}", *taken) for stage, taken in seconds.items()]

    def _check_networks(self) -> None:
        for predictor in self._predictors:
            predictor.give(None)
            predictor.predict(self._batches[0])
        check_outputs(*_each([predictor.outputs() for predictor in self._predictors]))


def _run_in_stages(predictor: Predictor, stages: Stages, batch: Sequence[str]) -> None:
    with stages.timing(), stages.stage("other"):
        results = predictor.predict(batch)
        with stages.stage("rle"):
            for result in results:
                predictor.encode(result.masks.bool())


def _time(name: str, works: Sequence[Work], *, pairs: int, warmup: int) -> Row:
    def ready(work: Work) -> Callable[[], Work]:
        return lambda: work

    return time_row(name, *time_in_turns(*map(ready, works), pairs=pairs, warmup=warmup, name=name))


def _encode(predictor: Predictor, masks: Tensor) -> Work:
    return lambda: predictor.encode(masks)


def _each(sides: Sequence[Any]) -> tuple[Any, Any]:
    """Ours and the peer's, or ours twice, where a comparison says nothing."""
    return sides[0], sides[-1]


def _sizes(config: Config) -> tuple[Size, Size]:
    """What the config's pipeline makes of a picture of `PICTURE_SIZE`: size of the image, size of its mask features."""
    steps = inner_dataset(config, "val")["pipeline"]
    pipeline = Compose([TRANSFORMS.build(step) for step in steps])
    sample = cast(Any, pipeline(dict(img=np.zeros((*PICTURE_SIZE, 3), np.uint8), img_path=None, img_id=0)))
    height, width = sample["inputs"].shape[-2:]
    padded = (height + -height % SIZE_DIVISOR, width + -width % SIZE_DIVISOR)
    return (height, width), (padded[0] // MASK_STRIDE, padded[1] // MASK_STRIDE)


def _paths(config: Config, *, data: str | None, images: int, work_dir: str) -> list[str]:
    dataset = DATASETS.build(dataset_config(config, split="val", data=data, work_dir=work_dir))
    count = min(images, len(dataset))
    return [dataset.get_data_info(number * len(dataset) // count)["img_path"] for number in range(count)]
