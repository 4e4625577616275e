"""Average precision of masks and boxes, as COCO defines it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import all_gather_object, broadcast_object_list, gather_object, is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from solo.errors import ConfigError, DataError, missing_file_message
from solo.evaluation.ap_table import format_class_table, format_table
from solo.evaluation.average_precision import choose_backend, coco_precision
from solo.evaluation.detections import ImageDetections
from solo.evaluation.ground_truth import read_annotation_file, usable_ground_truth
from solo.evaluation.record import DetectionRecord, read_frames
from solo.registry import METRICS

METRIC_NAMES = ("segm", "bbox")


@METRICS.register_module()
class CocoMaskMetric(BaseMetric):
    """Mask AP and box AP over the images that were evaluated.

    Masks are run-length encoded as they arrive, some 200 bytes a detection whatever the size of the image, and wait in
    a file: memory does not grow with the images. At the end the first rank gets the bytes of the others' files, through
    no shared folder, and computes. hotcoco computes where it is installed, pycocotools elsewhere, with equal results to
    the last bit. Returned keys carry mmdet's names: `coco/segm_mAP`, `_mAP_50`, `_mAP_75`, `_mAP_s`, `_mAP_m`,
    `_mAP_l`, the same with `bbox`, and with `classwise` also `coco/segm_<class name>_precision`. As in pycocotools,
    -1 stands for an average over nothing (no object of that size or class).

    Raises:
        ConfigError: a metric name or the backend is unknown, the backend is not installed, or `max_dets` is below 1.
        DataError: the annotation file is missing, or is no COCO annotation file.
    """

    default_prefix = "coco"

    def __init__(
        self,
        *,
        ann_file: str | None = None,
        metric: str | Sequence[str] = METRIC_NAMES,
        max_dets: int = 100,
        classwise: bool = False,
        results_file: str | None = None,
        backend: str = "auto",
        prefix: str | None = None,
    ) -> None:
        """Set the evaluation up.

        Args:
            ann_file: COCO annotation file of the evaluated images. `solo.engine.runner` fills in that of the evaluated
                dataset when a config does not state it.
            metric: "segm" (masks), "bbox" (boxes) or both.
            max_dets: how many detections of a class count in an image, best first.
            classwise: log and return the AP of every class too.
            results_file: where to write the detections in COCO's results format.
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
        if ann_file is None:
            raise ConfigError("CocoMaskMetric.ann_file is not stated: it needs the dataset's annotation file")
        if not Path(ann_file).is_file():
            raise DataError(missing_file_message(ann_file, kind="annotation file"))
        self.ann_file = str(ann_file)
        self.max_dets = max_dets
        self.classwise = classwise
        self.results_file = results_file
        self.backend = choose_backend(backend)
        self._category_ids: tuple[int, ...] = ()
        self._ground_truths: dict[str, dict[str, Any]] = {}
        self._record = DetectionRecord.temporary()

    def keep_record(self, stem: str | Path, *, fingerprint: Mapping[str, Any], resume: bool) -> set[Any]:
        """Let the detections of the next evaluation wait in files that outlive a crash, `<stem>.rank<number>`.

        Args:
            stem: path of the files without the rank; its folder is made.
            fingerprint: what makes the detections what they are, values by name, as JSON keeps them.
            resume: go on with the files that are there, also those of another number of processes; else they go.

        Returns:
            Ids of the images whose detections are there, in all ranks' files; they need not be processed again.

        Raises:
            DataError: a file that is there is of another evaluation, or is no record.
        """
        self._record = DetectionRecord.named(Path(stem), fingerprint=fingerprint, resume=resume)
        ids = [image.image_id for image in read_frames(self._record.frames())]
        return set().union(*all_gather_object(ids))

    @property
    def dataset_meta(self) -> dict | None:
        """Metainfo of the evaluated dataset: `classes`, and `category_ids` where it knows them."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        self._dataset_meta = dataset_meta
        self._category_ids = self._match_categories(dataset_meta)

    @cached_property
    def _content(self) -> dict[str, Any]:
        return read_annotation_file(self.ann_file)

    @cached_property
    def _image_ids(self) -> set[Any]:
        return {image["id"] for image in self._content["images"]}

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Write the encoded detections of a batch to the record.

        Args:
            data_batch: not used.
            data_samples: dicts with `img_id` and `pred_instances`: labels (D,), scores (D,), bboxes (D, 4) as
                x1 y1 x2 y2 and masks, (D, H, W) bool or D run-length encodings, in the frame of the original image.

        Raises:
            DataError: an image's id is not in the annotation file.
        """
        for sample in data_samples:
            if sample["img_id"] not in self._image_ids:
                raise DataError(f"{self.ann_file}: holds no image with the id {sample['img_id']!r} that was predicted")
        self._record.append(
            [ImageDetections.from_instances(sample["img_id"], sample["pred_instances"]) for sample in data_samples]
        )

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
            DataError: there is no image, or the class names of the data are not known, or are not those of the
                annotation file.
        """
        if not self._category_ids:
            raise DataError(f"{self.ann_file}: cannot evaluate: the dataset's metainfo names no classes")
        if not results:
            raise DataError(f"{self.ann_file}: cannot evaluate: no image was predicted")
        found = {result.image_id: result for result in reversed(results)}
        by_image = {image["id"]: found[image["id"]] for image in self._content["images"] if image["id"] in found}
        for result in by_image.values():
            self._check_labels(result)
        if self.results_file is not None:
            _write_results(by_image.values(), self._category_ids, self.results_file)
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
        return metrics

    def _evaluate(self, name: str, detections: list[ImageDetections]) -> np.ndarray:
        """Precision over IoU thresholds, recalls, classes and area ranges, shape (10, 101, C, 4)."""
        if name not in self._ground_truths:
            self._ground_truths[name] = usable_ground_truth(
                self._content, with_masks=name == "segm", source=self.ann_file
            )
        return coco_precision(
            self._ground_truths[name],
            detections,
            name=name,
            category_ids=self._category_ids,
            max_dets=self.max_dets,
            backend=self.backend,
        )

    def _check_labels(self, result: ImageDetections) -> None:
        labels = result.labels
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(self._category_ids):
            raise DataError(
                f"image {result.image_id!r}: predicted labels reach {labels.min()}..{labels.max()}, but the data has"
                f" {len(self._category_ids)} classes"
            )

    def _match_categories(self, dataset_meta: dict | None) -> tuple[int, ...]:
        """The category id of each label, checked against the names in the annotation file."""
        classes = tuple((dataset_meta or {}).get("classes") or ())
        if not classes:
            return ()
        ids_of_file = {category["name"]: category["id"] for category in self._content["categories"]}
        ids = (dataset_meta or {}).get("category_ids") or [ids_of_file.get(name) for name in classes]
        wrong = [
            name for name, identifier in zip(classes, ids, strict=True) if ids_of_file.get(name, object()) != identifier
        ]
        if wrong:
            raise DataError(
                f"{self.ann_file}: the data's classes do not fit the file's categories: {wrong} with ids"
                f" {[ids[classes.index(name)] for name in wrong]} are missing or differ among {ids_of_file}"
            )
        return tuple(ids)


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


def _write_results(
    detections: Iterable[ImageDetections], category_ids: Sequence[int], results_file: str | Path
) -> None:
    """One image after the other, so that the file is never in memory as a whole."""
    path = Path(results_file)
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with path.open("w", encoding="utf-8") as file:
        file.write("[")
        for image in detections:
            for entry in image.to_coco(category_ids):
                file.write((", " if count else "") + json.dumps(entry))
                count += 1
        file.write("]")
    MMLogger.get_current_instance().info(f"Wrote {count} detections to {path}")
