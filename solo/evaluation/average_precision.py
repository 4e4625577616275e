"""COCO's precision of detections: by hotcoco where it is installed, else by pycocotools; equal to the last bit.
Boundary AP is computed by pycocotools.

Classes do not depend on each other, so they are evaluated in groups, and only the detections of a group are held in
the form that an evaluator reads.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from solo.datasets.coco.annotation_table import AnnotatedImage
from solo.errors import ConfigError
from solo.evaluation.boundary import BoundaryEvaluator
from solo.evaluation.detections import ImageDetections, boxes_xywh
from solo.masks.segmentations import unpack_segmentation

BACKENDS = ("auto", "hotcoco", "pycocotools")
GROUP_DETECTIONS = 50_000
"""About how many detections are evaluated at once."""


def choose_backend(name: str) -> Literal["hotcoco", "pycocotools"]:
    """Resolve a name of `BACKENDS`; "auto" is hotcoco where it is installed.

    Raises:
        ConfigError: the name is unknown, or stands for a package that is not installed.
    """
    if name not in BACKENDS:
        raise ConfigError(f"CocoMaskMetric.backend: {name!r} is unknown, expected one of {BACKENDS}")
    installed = importlib.util.find_spec("hotcoco") is not None
    if name == "hotcoco" and not installed:
        raise ConfigError("CocoMaskMetric.backend: hotcoco is not installed; 'auto' falls back to pycocotools")
    return "hotcoco" if installed and name != "pycocotools" else "pycocotools"


def coco_precision(
    ground_truth: Iterable[AnnotatedImage],
    detections: Sequence[ImageDetections],
    *,
    name: str,
    num_classes: int,
    max_dets: int,
    backend: Literal["hotcoco", "pycocotools"],
) -> np.ndarray:
    """Precision over IoU thresholds, recalls, classes and area ranges.

    Args:
        ground_truth: the images of the dataset with their annotations.
        detections: those of every image that is evaluated, each image once and at least one; other images of the
            dataset do not count.
        name: "segm" to compare masks, "bbox" to compare boxes, "boundary" to compare masks by the smaller one of mask
            IoU and Boundary IoU.
        num_classes: number of labels.
        max_dets: how many detections of a class count in an image, best first.
        backend: package that computes; "boundary" is computed by pycocotools always.

    Returns:
        (10, 101, C, 4) float64, -1 where it is not defined. Classes in the order of the labels.
    """
    image_numbers = {image_id: number for number, image_id in enumerate(sorted(d.image_id for d in detections), 1)}
    order = sorted(detections, key=lambda image: image_numbers[image.image_id])
    content = _coco_content(ground_truth, image_numbers, num_classes=num_classes, with_masks=name != "bbox")
    use_hotcoco = backend == "hotcoco" and name != "boundary"
    evaluate = _Hotcoco(content, name) if use_hotcoco else _Pycocotools(content, name)
    rows = _rows(order, image_numbers)
    categories = rows[:, 6].astype(np.int64)
    precision = []
    for labels in _label_groups(np.bincount(categories - 1, minlength=num_classes)):
        wanted = (categories > labels.start) & (categories <= labels.stop)
        group = evaluate(
            rows[wanted],
            _encodings(order, wanted) if name != "bbox" else None,
            image_ids=list(image_numbers.values()),
            category_ids=[label + 1 for label in labels],
            max_dets=[min(1, max_dets), min(10, max_dets), max_dets],
        )
        precision.append(group[..., -1])
    return np.concatenate(precision, axis=2)


def hotcoco_evaluation(
    ground_truth: Iterable[AnnotatedImage],
    detections: Sequence[ImageDetections],
    *,
    num_classes: int,
    max_dets: int,
    by_area: bool = True,
) -> HotcocoEvaluation:
    """Compare masks with hotcoco and keep its evaluator, for what it computes beyond the precision.

    Args:
        ground_truth: as in `coco_precision`.
        detections: as in `coco_precision`.
        num_classes: number of labels.
        max_dets: how many detections of a class count in an image, best first.
        by_area: evaluate COCO's areas too; without it only all objects together.

    Raises:
        ConfigError: hotcoco is not installed.
    """
    choose_backend("hotcoco")
    image_numbers = {image_id: number for number, image_id in enumerate(sorted(d.image_id for d in detections), 1)}
    order = sorted(detections, key=lambda image: image_numbers[image.image_id])
    content = _coco_content(ground_truth, image_numbers, num_classes=num_classes, with_masks=True)
    everything = np.ones(sum(len(image.labels) for image in order), bool)
    evaluator = _Hotcoco(content, "segm").evaluate(
        _rows(order, image_numbers),
        _encodings(order, everything),
        image_ids=list(image_numbers.values()),
        category_ids=[label + 1 for label in range(num_classes)],
        max_dets=[min(1, max_dets), min(10, max_dets), max_dets],
        by_area=by_area,
    )
    return HotcocoEvaluation(evaluator=evaluator, image_numbers=image_numbers, detections=order)


@dataclass(frozen=True, kw_only=True)
class HotcocoEvaluation:
    """A hotcoco evaluator of masks that has evaluated and accumulated.

    Attributes:
        evaluator: `hotcoco.COCOeval`. A category id is label + 1; objects and detections have the ids 1, 2, ... in the
            order of the ground truth and of `detections`.
        image_numbers: image id -> id of the image in the evaluator.
        detections: the detections, ordered by the number of their image.
    """

    evaluator: Any
    image_numbers: dict[Any, int]
    detections: list[ImageDetections]


def _label_groups(counts: np.ndarray) -> Iterator[range]:
    """Ranges of labels with about `GROUP_DETECTIONS` detections each, given the counts of the labels."""
    first, size = 0, 0
    for label, count in enumerate(counts.tolist()):
        if label > first and size + count > GROUP_DETECTIONS:
            yield range(first, label)
            first, size = label, 0
        size += count
    yield range(first, len(counts))


def _coco_content(
    ground_truth: Iterable[AnnotatedImage], image_numbers: dict[Any, int], *, num_classes: int, with_masks: bool
) -> dict[str, Any]:
    """The ground truth of the numbered images in COCO's format, of each annotation the mask or the box.

    Annotations get ids from 1, because COCOeval takes an object whose id is 0 for an unmatched one. Categories are
    label + 1.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image in ground_truth:
        number = image_numbers.get(image.image_id)
        if number is None:
            continue
        images.append(dict(id=number, file_name="", width=image.width, height=image.height))
        instances, measures = image.instances, image.measures().tolist()
        columns = zip(instances.labels, instances.ignore_flags, instances.masks, measures, strict=True)
        for label, ignore_flag, mask, (*box, area) in columns:
            shape = {"segmentation": unpack_segmentation(mask)} if with_masks else {"bbox": box}
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": label + 1,
                    "iscrowd": ignore_flag,
                    "area": area,
                    **shape,
                }
            )
    categories = [dict(id=label + 1, name=str(label)) for label in range(num_classes)]
    return dict(images=images, annotations=annotations, categories=categories)


def _rows(images: Sequence[ImageDetections], image_numbers: dict[Any, int]) -> np.ndarray:
    """All detections: (D, 8) float64, image number, box x y width height, score, category, pixels of the mask."""
    return np.column_stack(
        [
            np.repeat([image_numbers[image.image_id] for image in images], [len(image.labels) for image in images]),
            boxes_xywh(np.concatenate([image.boxes for image in images])),
            np.concatenate([image.scores for image in images]),
            np.concatenate([image.labels for image in images]) + 1,
            np.concatenate([image.areas for image in images]),
        ]
    )


def _encodings(images: Sequence[ImageDetections], wanted: np.ndarray) -> list[Any]:
    """The RLEs of the wanted detections."""
    texts = itertools.chain.from_iterable(image.texts() for image in images)
    sizes = itertools.chain.from_iterable(itertools.repeat(image.size, len(image.labels)) for image in images)
    return [{"size": size, "counts": text} for size, text in itertools.compress(zip(sizes, texts, strict=True), wanted)]


class _Pycocotools:
    """pycocotools over one ground truth."""

    def __init__(self, content: dict[str, Any], name: str) -> None:
        self._ground_truth = _index(content)
        self._kind = BoundaryEvaluator if name == "boundary" else COCOeval
        self._iou_type = "bbox" if name == "bbox" else "segm"

    def __call__(
        self,
        rows: np.ndarray,
        encodings: list[Any] | None,
        *,
        image_ids: list[int],
        category_ids: list[int],
        max_dets: list[int],
    ) -> np.ndarray:
        """(10, 101, len(category_ids), 4, 3) precision."""
        with contextlib.redirect_stdout(io.StringIO()):
            evaluator = self._kind(self._ground_truth, self._load(rows, encodings), self._iou_type)
            evaluator.params.imgIds = image_ids
            evaluator.params.catIds = category_ids
            evaluator.params.maxDets = max_dets
            evaluator.evaluate()
            evaluator.accumulate()
        return evaluator.eval["precision"]

    def _load(self, rows: np.ndarray, encodings: list[Any] | None) -> COCO:
        if len(rows) == 0:
            return _index({**self._ground_truth.dataset, "annotations": []})
        key, shapes = ("bbox", rows[:, 1:5].tolist()) if encodings is None else ("segmentation", encodings)
        columns = (rows[:, 0].tolist(), rows[:, 6].tolist(), rows[:, 5].tolist(), shapes)
        return self._ground_truth.loadRes(
            [
                {"image_id": int(image), "category_id": int(category), "score": score, key: shape}
                for image, category, score, shape in zip(*columns, strict=True)
            ]
        )


class _Hotcoco:
    """hotcoco over one ground truth."""

    def __init__(self, content: dict[str, Any], name: str) -> None:
        import hotcoco  # not installed everywhere

        self._package = hotcoco
        self._ground_truth = hotcoco.COCO(content)
        self._name = name

    def __call__(
        self,
        rows: np.ndarray,
        encodings: list[Any] | None,
        *,
        image_ids: list[int],
        category_ids: list[int],
        max_dets: list[int],
    ) -> np.ndarray:
        """(10, 101, len(category_ids), 4, 3) precision."""
        evaluator = self.evaluate(rows, encodings, image_ids=image_ids, category_ids=category_ids, max_dets=max_dets)
        accumulated: Any = evaluator.eval
        return np.asarray(accumulated["precision"])

    def evaluate(
        self,
        rows: np.ndarray,
        encodings: list[Any] | None,
        *,
        image_ids: list[int],
        category_ids: list[int],
        max_dets: list[int],
        by_area: bool = True,
    ) -> Any:
        """A `hotcoco.COCOeval` of the detections that has evaluated and accumulated."""
        evaluator = self._package.COCOeval(self._ground_truth, self._load(rows, encodings), self._name)
        params = evaluator.params  # a copy, to be set as a whole
        params.img_ids, params.cat_ids, params.max_dets = image_ids, category_ids, max_dets
        if not by_area:
            params.area_rng, params.area_rng_lbl = params.area_rng[:1], params.area_rng_lbl[:1]
        evaluator.params = params
        evaluator.evaluate()
        evaluator.accumulate()
        return evaluator

    def _load(self, rows: np.ndarray, encodings: list[Any] | None) -> Any:
        results = rows[:, :7].copy()
        if encodings is not None:
            # A row has the area of its box, which masks are not compared by: a box with the area of the mask.
            results[:, 1:3], results[:, 3], results[:, 4] = 0, rows[:, 7], 1
        return self._ground_truth.load_res(results, segmentation=encodings)


def _index(content: dict[str, Any]) -> COCO:
    """A pycocotools index of `content`, without the progress it prints."""
    coco = COCO()
    coco.dataset = content
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco
