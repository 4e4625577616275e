"""Evaluation: times of AP over many results and of a whole validation loop, of ours and of mmdet's."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from benchmarks.datasets import dataset_config
from benchmarks.generated import GeneratedOutputs, GeneratedResults, generate_results
from benchmarks.inference import CANDIDATES
from benchmarks.mmdet_reference import MMDetMetric, mmdet_validation_pipeline
from benchmarks.predictors import SCORE_TOLERANCE, Predictor, build_predictors
from benchmarks.rows import Measurements, Row, check_options, measure_rows, rate_row, time_row
from benchmarks.timing import Progress, Stages, Work, time_interleaved
from solo.config import load_config
from solo.deployment import DeploymentOptions
from solo.evaluation import CocoMaskMetric
from solo.registry import DATASETS

RESULT_IMAGES = 5000
AP_TOLERANCE = 1e-3
"""mmdet rounds to three digits."""
LOOP_STAGES = ("loader", "predict", "encode", "metric")


def benchmark_evaluation(
    config_path: str,
    *,
    checkpoint: str | None = None,
    against: str | None = None,
    repetitions: int = 3,
    warmup: int = 0,
    data: str | None = None,
    images: int | None = None,
    result_images: int = RESULT_IMAGES,
    batch_size: int | None = None,
    device: str | None = None,
    deployment: DeploymentOptions | None = None,
    rows: Sequence[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> list[Row]:
    """Measure the evaluation of a config, alone or interleaved with mmdet's.

    Without a checkpoint the network's outputs are replaced by generated ones, as in `benchmark_inference`: the workload
    is that of 100 detections per image, their AP is meaningless. Against mmdet `min_area_factor` is 1, and its
    pipeline loads the annotations, as in its configs.

    Args:
        config_path: the config file.
        checkpoint: weights; None for random ones.
        against: "mmdet", or None to measure ours alone.
        repetitions: timed repetitions; one of val_loop is the whole loop.
        warmup: repetitions before those.
        data: folder of a data set in COCO's layout, "drawn", "crowded:N" for N objects an image, or None for the data
            of the config; its validation images are evaluated.
        images: number of images, the first ones; None for all.
        result_images: images whose results are generated for cocoeval.
        batch_size: images per batch; by default the config's.
        device: "cpu", "cuda", ...; None for the GPU if there is one.
        deployment: options of our network; None for the recommended ones.
        rows: names of the rows to measure, None for all.
        overrides: config values by dotted key.

    Returns:
        The rows cocoeval and cocoeval_boxes (from the results of all images to AP; equal to pycocotools' to the last
        bit), val_loop with val_loop/<stage>, and images_per_second_val_loop (equal AP up to mmdet's rounding, equal
        labels, scores within 1e-5).

    Raises:
        UserError: config, checkpoint or data cannot be used.
        AssertionError: the implementations do not compute the same.
    """
    sizes = dict(images=images, result_images=result_images, batch_size=batch_size)
    check_options(against=against, repetitions=repetitions, warmup=warmup, **sizes)
    config = load_config(config_path, overrides=overrides)
    MMLogger.get_current_instance().setLevel("WARNING")
    timing = dict(repetitions=repetitions, warmup=warmup)
    with tempfile.TemporaryDirectory() as folder:

        @cache
        def results() -> GeneratedResults:
            return generate_results(Path(folder), num_images=result_images)

        def loop() -> list[Row]:
            predictors = build_predictors(
                config, checkpoint=checkpoint, against=against, work_dir=folder, device=device, deployment=deployment
            )
            if checkpoint is None:
                generated = GeneratedOutputs(config.model, num_candidates=CANDIDATES)
                for predictor in predictors:
                    predictor.replace_outputs(generated)
            dataset = _dataset(config, data=data, images=images, work_dir=folder)
            return _time_loops(_loops(config, predictors, dataset, batch_size=batch_size), **timing)

        measurements: Measurements = {
            ("cocoeval",): lambda: [_time_metric(results(), name="segm", against=against, **timing)],
            ("cocoeval_boxes",): lambda: [_time_metric(results(), name="bbox", against=against, **timing)],
            ("val_loop", "images_per_second_val_loop"): loop,
        }
        return measure_rows(measurements, rows)


class _Metric(Protocol):
    def process(self, samples: Sequence[Any]) -> None:
        """Add the results of a batch."""

    def evaluate(self, size: int) -> dict[str, float]:
        """AP."""


class _OurMetric:
    """`CocoMaskMetric` for one kind of AP."""

    def __init__(self, *, ann_file: str, classes: Sequence[str], name: str) -> None:
        self._metric = CocoMaskMetric(ann_file=ann_file, metric=name)
        self._metric.dataset_meta = dict(classes=tuple(classes))
        self._metric.load_annotations()

    def process(self, samples: Sequence[Any]) -> None:
        """Add the results of a batch."""
        self._metric.process({}, [sample if isinstance(sample, dict) else sample.to_dict() for sample in samples])

    def evaluate(self, size: int) -> dict[str, float]:
        """AP."""
        return dict(self._metric.evaluate(size))


def _time_metric(results: GeneratedResults, *, name: str, against: str | None, repetitions: int, warmup: int) -> Row:
    """Time `evaluate`; each repetition prepares a metric with annotations and results."""
    latest: dict[type, tuple[Any, dict[str, float]]] = {}

    def preparation(kind: Callable[..., _Metric]) -> Callable[[], Work]:
        def prepare() -> Work:
            metric = kind(ann_file=str(results.ann_file), classes=results.classes, name=name)
            metric.process(results.samples)

            def work() -> None:
                latest[type(metric)] = metric, metric.evaluate(len(results.samples))

            return work

        return prepare

    kinds: list[Callable[..., _Metric]] = [_OurMetric, *([MMDetMetric] if against else [])]
    row_name = "cocoeval" if name == "segm" else "cocoeval_boxes"
    seconds = time_interleaved(*map(preparation, kinds), repetitions=repetitions, warmup=warmup, name=row_name)
    if against:
        ours, exact = latest[_OurMetric][1], latest[MMDetMetric][0].exact()
        if ours != exact:
            raise AssertionError(f"{row_name}: {ours} differs from pycocotools' {exact}")
    return time_row(row_name, *seconds)


class _Loop:
    """A validation loop of one implementation."""

    def __init__(self, predictor: Predictor, loader: Any, metric: Callable[[], _Metric]) -> None:
        self._predictor, self._loader, self._metric = predictor, loader, metric
        self.num_images = len(loader.dataset)
        self.labels_and_scores: dict[Any, tuple[torch.Tensor, torch.Tensor]] = {}
        self.metrics: dict[str, float] = {}

    def run(self, stages: Stages) -> None:
        """Run the whole loop with a new metric."""
        metric = self._metric()
        with stages.stage("loader"), torch.no_grad():
            for batch in self._loader:
                with stages.stage("predict"):
                    samples = self._predictor.model.val_step(batch)
                with stages.stage("encode"):
                    metric.process(samples)
                for sample in samples:
                    found = sample.pred_instances
                    self.labels_and_scores[sample.img_id] = found.labels.cpu(), found.scores.cpu()
            with stages.stage("metric"):
                self.metrics = metric.evaluate(self.num_images)


def _loops(
    config: Config, predictors: Sequence[Predictor], dataset: Mapping[str, Any], *, batch_size: int | None
) -> list[_Loop]:
    pipelines = [dataset["pipeline"], mmdet_validation_pipeline(dataset["pipeline"])]
    loops = []
    kinds: tuple[Callable[..., _Metric], ...] = (_OurMetric, MMDetMetric)
    for predictor, pipeline, kind in zip(predictors, pipelines, kinds, strict=False):
        loader_config = copy.deepcopy(config.val_dataloader)
        loader_config.update(
            dataset=dict(dataset, pipeline=pipeline), batch_size=batch_size or loader_config.batch_size
        )
        if not torch.cuda.is_available():
            loader_config.pop("pin_memory", None)
        loader = Runner.build_dataloader(loader_config)
        arguments = dict(ann_file=loader.dataset.ann_file, classes=loader.dataset.metainfo["classes"], name="segm")
        loops.append(_Loop(predictor, loader, partial(kind, **arguments)))
    return loops


def _time_loops(loops: Sequence[_Loop], *, repetitions: int, warmup: int) -> list[Row]:
    timers = [Stages([]) for _ in loops]
    seconds: dict[str, list[list[float]]] = {stage: [[] for _ in loops] for stage in LOOP_STAGES}
    progress = Progress("val_loop", total=(warmup + repetitions) * len(loops))
    for repetition in range(-warmup, repetitions):
        for which, (loop, stages) in enumerate(zip(loops, timers, strict=True)):
            stages.reset()
            loop.run(stages)
            for stage, taken in seconds.items():
                taken[which] += [stages.seconds[stage]] * (repetition >= 0)
            progress.done((repetition + warmup) * len(loops) + which + 1)
    _check_loops(loops[0], loops[-1])
    whole = [[sum(parts) for parts in zip(*stages, strict=True)] for stages in zip(*seconds.values(), strict=True)]
    rates = [[loops[0].num_images / taken for taken in own] for own in whole]
    return [
        time_row("val_loop", *whole),
        *(time_row(f"val_loop/{stage}", *taken) for stage, taken in seconds.items()),
        rate_row("images_per_second_val_loop", "images/s", *rates),
    ]


def _check_loops(ours: _Loop, expected: _Loop) -> None:
    if ours.labels_and_scores.keys() != expected.labels_and_scores.keys():
        raise AssertionError("val_loop: other images than mmdet's")
    for image_id, (labels, scores) in ours.labels_and_scores.items():
        their_labels, their_scores = expected.labels_and_scores[image_id]
        same_labels = torch.equal(labels, their_labels.long())
        if not same_labels or not torch.allclose(scores, their_scores, rtol=0, atol=SCORE_TOLERANCE):
            raise AssertionError(f"val_loop: image {image_id} has other detections than mmdet's")
    for key, value in ours.metrics.items():
        if abs(value - expected.metrics[key]) > AP_TOLERANCE:
            raise AssertionError(f"val_loop: {key} {value}, mmdet's {expected.metrics[key]}")


def _dataset(config: Config, *, data: str | None, images: int | None, work_dir: str) -> dict[str, Any]:
    """Options of the data set; a subset gets its own annotation file, since mmdet's metric counts a whole file."""
    options = dataset_config(config, split="val", data=data, work_dir=work_dir)
    if images is None:
        return options
    dataset = DATASETS.build(options)
    content = json.loads(Path(dataset.ann_file).read_text())
    kept = content["images"][:images]
    ids = {image["id"] for image in kept}
    annotations = [annotation for annotation in content["annotations"] if annotation["image_id"] in ids]
    path = Path(work_dir) / "instances_first.json"
    path.write_text(json.dumps({**content, "images": kept, "annotations": annotations}))
    return dict(
        type="CocoInstances",
        ann_file=str(path.absolute()),
        data_prefix={key: str(Path(folder).absolute()) for key, folder in dataset.data_prefix.items()},
        pipeline=options["pipeline"],
        test_mode=True,
    )
