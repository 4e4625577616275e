"""Average precision of masks and boxes, as COCO defines it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from mmengine.dist import all_gather_object, broadcast_object_list, gather_object, is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from solo.datasets.coco.annotation_table import AnnotatedImage
from solo.datasets.coco.annotations import read_annotations
from solo.errors import ConfigError, DataError, missing_file_message
from solo.evaluation.ap_table import format_class_table, format_table
from solo.evaluation.average_precision import choose_backend, coco_precision
from solo.evaluation.detections import ImageDetections
from solo.evaluation.record import DetectionRecord, read_frames
from solo.output_files import check_outputs, write_output
from solo.registry import METRICS

METRIC_NAMES = ("segm", "bbox", "boundary")
USUAL_METRICS = ("segm", "bbox")


class _Annotations(Protocol):
    """A dataset, or the content of an annotation file."""

    def annotated_images(self) -> Iterable[AnnotatedImage]:
        """The images with their usable annotations."""


class _JoinedAnnotations:
    """The annotations of several datasets, one after the other."""

    def __init__(self, datasets: Sequence[_Annotations]) -> None:
        self._datasets = datasets

    def annotated_images(self) -> Iterator[AnnotatedImage]:
        return itertools.chain.from_iterable(dataset.annotated_images() for dataset in self._datasets)


@METRICS.register_module()
class CocoMaskMetric(BaseMetric):
    """Mask AP, box AP and boundary AP over the images that were evaluated.

    The ground truth is that of the evaluated datasets (`set_datasets`), or is read from `ann_file` by the same rules:
    what cannot be trained on is not evaluated either. Detections are encoded as RLE as they arrive, some 200 bytes each
    whatever the size of the image, and stored in a file: memory does not grow with the images. At the end the first
    rank gets the bytes of the other ranks' files, through no shared folder, and computes. hotcoco computes where it is
    installed, pycocotools elsewhere, with equal results to the last bit; boundary AP is pycocotools' alone.

    Returned keys carry mmdet's names: `coco/segm_mAP`, `_mAP_50`, `_mAP_75`, `_mAP_s`, `_mAP_m`, `_mAP_l`, the same
    with `bbox` and `boundary`, and with `classwise` also `coco/segm_<class name>_precision`. As in pycocotools, -1
    stands for an average over nothing (no object of that size or class).

    Raises:
        ConfigError: a metric name or the backend is unknown, the backend is not installed, or `max_dets` is below 1.
        DataError: the annotation file is missing, or is no COCO annotation file.
    """

    default_prefix = "coco"

    def __init__(
        self,
        *,
        ann_file: str | None = None,
        metric: str | Sequence[str] = USUAL_METRICS,
        max_dets: int = 100,
        classwise: bool = False,
        results_file: str | None = None,
        report: Mapping[str, str] | None = None,
        backend: str = "auto",
        prefix: str | None = None,
    ) -> None:
        """Set the evaluation up.

        Args:
            ann_file: COCO annotation file of the evaluated images; None takes the annotations of the dataset.
            metric: "segm" (masks), "bbox" (boxes), "boundary" (masks near their outlines, see
                `solo.evaluation.boundary`), or several of them.
            max_dets: how many detections of a class count in an image, best first.
            classwise: log and return the AP of every class too.
            results_file: where to write the detections in COCO's results format.
            report: `folder` and `title` of a report to write (see `solo.evaluation.report`); it needs hotcoco.
            backend: "hotcoco", "pycocotools", or "auto" for the first of them that is installed.
            prefix: first part of the returned keys; "coco" by default.
        """
        super().__init__(prefix=prefix)
        self.metrics = (metric,) if isinstance(metric, str) else tuple(metric)
        for name in self.metrics:
            if name not in METRIC_NAMES:
                raise ConfigError(f"CocoMaskMetric.metric: {name!r} is unknown, expected one of {METRIC_NAMES}")
        if max_dets < 1:
            raise ConfigError(f"CocoMaskMetric.max_dets must be at least 1, got {max_dets}")
        if ann_file is not None and not Path(ann_file).is_file():
            raise DataError(missing_file_message(ann_file, kind="annotation file"))
        self.ann_file = None if ann_file is None else str(ann_file)  # of several datasets all, for messages
        self.ann_files = [] if ann_file is None else [str(ann_file)]
        self.max_dets = max_dets
        self.classwise = classwise
        self.results_file = results_file
        self.report = report
        if report is not None:
            choose_backend("hotcoco")
        self.backend = choose_backend(backend)
        self._annotations: _Annotations | None = None
        self._datasets: tuple[Any, ...] = ()
        self._category_ids: tuple[int, ...] = ()
        self._image_ids: dict[Any, None] = {}
        self._record = DetectionRecord.temporary()

    def keep_record(self, stem: str | Path, *, fingerprint: str, resume: bool) -> set[Any]:
        """Write the detections of the next evaluation to files that outlive a crash, `<stem>.rank<number>`.

        Args:
            stem: path of the files without the rank; its folder is made.
            fingerprint: identifies what the detections depend on.
            resume: keep the detections in the files that are there.

        Returns:
            Ids of the images whose detections are there, in all ranks' files; they need not be processed again.

        Raises:
            DataError: a file that is to be kept has another fingerprint, or its content is damaged.
            OutputError: a file cannot be written.
        """
        if resume:
            self.load_annotations()
        self._record = DetectionRecord.named(
            Path(stem), fingerprint=fingerprint, num_classes=len(self._category_ids), resume=resume
        )
        ids = [image.image_id for image in read_frames(self._record.frames())]
        return set().union(*all_gather_object(ids))

    def set_datasets(self, datasets: Sequence[Any]) -> None:
        """Take the ground truth from the evaluated datasets, so that their files are not read again.

        An `ann_file` of the metric's own, if it is another one, is read instead; so is that of a dataset that has no
        `annotated_images` or is not in test mode. AP is over the images of all datasets; where they have image ids in
        common, each dataset puts the name of its file before its ids.

        Args:
            datasets: the evaluated datasets, such as `CocoInstances`, at least one. `dataset_meta` must be set.

        Raises:
            ConfigError: neither the datasets nor the metric have annotations, or several datasets have image ids in
                common that they cannot rename.
            DataError: as `load_annotations`.
        """
        self._datasets = tuple(datasets)
        files = [file for dataset in datasets if (file := getattr(dataset, "ann_file", None))]
        is_theirs = self.ann_file is None or [Path(file).resolve() for file in files] == [Path(self.ann_file).resolve()]
        if self.ann_file is None and files:
            self.ann_file, self.ann_files = ", ".join(dict.fromkeys(map(str, files))), list(map(str, files))
        if is_theirs and all(getattr(d, "test_mode", False) and hasattr(d, "annotated_images") for d in datasets):
            _make_image_ids_unique(datasets)
            self._use(_JoinedAnnotations(datasets), tuple(datasets[0].metainfo["category_ids"]))
        else:
            self.load_annotations()

    def load_annotations(self) -> None:
        """Read `ann_file` if no dataset was given; `process` does it when it was not done before.

        Raises:
            ConfigError: no `ann_file` was given either.
            DataError: the file cannot be used, or has other categories than the dataset.
        """
        if self._annotations is not None:
            return
        if self.ann_file is None:
            raise ConfigError(
                "CocoMaskMetric.ann_file is not stated, and the evaluated dataset has no annotations of its own"
            )
        if len(self.ann_files) > 1:
            raise ConfigError(f"{self.ann_file}: to evaluate several datasets together, each needs test_mode=True")
        meta = self.dataset_meta or {}
        classes = tuple(meta.get("classes") or ())
        if not classes:
            raise DataError(f"{self.ann_file}: cannot evaluate: the dataset's metainfo names no classes")
        checked = read_annotations(self.ann_file, classes=classes, for_evaluation=True)
        ids = meta.get("category_ids")
        if ids is not None and tuple(ids) != checked.category_ids:
            raise DataError(
                f"{self.ann_file}: the dataset's classes {dict(zip(classes, ids, strict=True))} have other category ids"
                f" in this file: {dict(zip(classes, checked.category_ids, strict=True))}"
            )
        checked.report.log()
        self._use(checked, checked.category_ids)

    def _use(self, annotations: _Annotations, category_ids: tuple[int, ...]) -> None:
        self._annotations, self._category_ids = annotations, category_ids
        self._image_ids = dict.fromkeys(image.image_id for image in annotations.annotated_images())

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Write the encoded detections of a batch to the record.

        Args:
            data_batch: not used.
            data_samples: dicts with `img_id` and `pred_instances`: labels (D,), scores (D,), bboxes (D, 4) as
                x1 y1 x2 y2 and masks, (D, H, W) bool or D RLEs, in the frame of the original image.

        Raises:
            DataError: an image's id is not in the annotation file, or a label is not one of the dataset's classes.
        """
        self.load_annotations()
        for sample in data_samples:
            if sample["img_id"] not in self._image_ids:
                raise DataError(f"{self.ann_file}: holds no image with the id {sample['img_id']!r} that was predicted")
        images = [ImageDetections.from_instances(sample["img_id"], sample["pred_instances"]) for sample in data_samples]
        for image in images:
            try:
                image.check_labels(len(self._category_ids))
            except ValueError as error:
                raise DataError(f"image {image.image_id!r}: predicted {error}") from None
        self._record.append(images)

    def evaluate(self, size: int) -> dict[str, float]:
        """AP of what all ranks have processed since the last call.

        Args:
            size: not used: an image counts once, however often the loaders of several ranks repeat it.

        Returns:
            The metrics under their prefix, on every rank.

        Raises:
            DataError: nothing was processed, or what `compute_metrics` raises.
        """
        parts = gather_object(self._record.frames())
        self._record = DetectionRecord.temporary()
        metrics: list[Any] = [None]
        if is_main_process():
            values = self.compute_metrics([image for frames in parts for image in read_frames(frames)])
            metrics = [{f"{self.prefix}/{name}": value for name, value in values.items()}]
        broadcast_object_list(metrics)
        return metrics[0]

    def compute_metrics(self, results: list[ImageDetections]) -> dict[str, float]:
        """AP of detections.

        Args:
            results: the detections of images, of all ranks; of an image that occurs again the first ones count.

        Raises:
            DataError: there is no image.
            OutputError: `results_file` cannot be written.
        """
        if not results:
            raise DataError(f"{self.ann_file}: cannot evaluate: no image was predicted")
        self.load_annotations()
        found = {result.image_id: result for result in reversed(results)}
        by_image = {image_id: found[image_id] for image_id in self._image_ids if image_id in found}
        metrics: dict[str, float] = {}
        per_class: dict[str, list[float]] = {}
        for name in self.metrics:
            precision = self._evaluate(name, list(by_image.values()))
            metrics.update({f"{name}_{key}": value for key, value in _summarize(precision).items()})
            per_class[name] = [_mean(precision[:, :, index, 0]) for index in range(len(self._category_ids))]
        logger = MMLogger.get_current_instance()
        logger.info(f"Average precision over {len(by_image)} images:\n{format_table(metrics, self.metrics)}")
        if self.classwise:
            classes = (self.dataset_meta or {})["classes"]
            logger.info(f"Average precision of each class:\n{format_class_table(per_class, classes)}")
            for name, values in per_class.items():
                keys = (f"{name}_{class_name}_precision" for class_name in classes)
                metrics.update(zip(keys, values, strict=True))
        if self.results_file is not None:  # after the tables, which are not lost if this fails
            self._write_results(by_image.values(), self.results_file)
        if self.report is not None:
            self._write_report(list(by_image.values()), boundary_ap=metrics.get("boundary_mAP"), **self.report)
        return metrics

    def _evaluate(self, name: str, detections: list[ImageDetections]) -> np.ndarray:
        """Precision over IoU thresholds, recalls, classes and area ranges, shape (10, 101, C, 4)."""
        assert self._annotations is not None, "`process` has loaded them"
        return coco_precision(
            self._annotations.annotated_images(),
            detections,
            name=name,
            num_classes=len(self._category_ids),
            max_dets=self.max_dets,
            backend=self.backend,
        )

    def _write_results(self, detections: Iterable[ImageDetections], path: str) -> None:
        """Write one image after the other, so that the file is never in memory as a whole."""
        entries = (entry for image in detections for entry in image.to_coco(self._category_ids))
        check_outputs([path], overwrite=True, inputs=self.ann_files, allow_streams=True)
        write_output(path, itertools.chain([b"["], _separated(json.dumps(entry).encode() for entry in entries), [b"]"]))
        MMLogger.get_current_instance().info(f"Wrote the detections to {path}")

    def _write_report(
        self, detections: list[ImageDetections], *, boundary_ap: float | None, folder: str, title: str
    ) -> None:
        from solo.evaluation.report import write_report  # most evaluations write none

        assert self._annotations is not None, "`process` has loaded them"
        page = write_report(
            folder,
            images=list(self._annotations.annotated_images()),
            detections=detections,
            classes=(self.dataset_meta or {})["classes"],
            max_dets=self.max_dets,
            boundary_ap=boundary_ap,
            title=title,
            image_paths=_image_paths(self._datasets),
        )
        MMLogger.get_current_instance().info(f"Wrote the report {page}")


def _image_paths(datasets: Sequence[Any]) -> dict[Any, str]:
    """Image id -> file, of datasets that name them."""
    named = [dataset for dataset in datasets if hasattr(dataset, "get_data_info")]
    infos = (dataset.get_data_info(index) for dataset in named for index in range(len(dataset)))
    return {info["img_id"]: info["img_path"] for info in infos if "img_path" in info and "img_id" in info}


def _make_image_ids_unique(datasets: Sequence[Any]) -> None:
    """Let datasets that share image ids put `<file name>/` or `<number>/` before them."""
    if len(datasets) == 1:
        return
    ids = [image.image_id for dataset in datasets for image in dataset.annotated_images()]
    if len(set(ids)) == len(ids):
        return
    names = [Path(dataset.ann_file).stem for dataset in datasets]
    if len(set(names)) < len(names):
        names = list(map(str, range(1, len(datasets) + 1)))
    for dataset, name in zip(datasets, names, strict=True):
        if not hasattr(dataset, "image_id_prefix"):
            raise ConfigError(f"{dataset.ann_file}: its image ids are also those of another evaluated dataset")
        dataset.image_id_prefix = f"{name}/"


def _summarize(precision: np.ndarray) -> dict[str, float]:
    """The six averages of COCO, precision of shape (10, 101, C, 4)."""
    return {
        "mAP": _mean(precision[..., 0]),
        "mAP_50": _mean(precision[0, ..., 0]),
        "mAP_75": _mean(precision[5, ..., 0]),
        "mAP_s": _mean(precision[..., 1]),
        "mAP_m": _mean(precision[..., 2]),
        "mAP_l": _mean(precision[..., 3]),
    }


def _mean(precision: np.ndarray) -> float:
    """Mean over the entries that are defined, -1 without any."""
    defined = precision[precision > -1]
    return float(defined.mean()) if defined.size else -1.0


def _separated(texts: Iterable[bytes]) -> Iterator[bytes]:
    for index, text in enumerate(texts):
        yield (b", " if index else b"") + text
