"""COCO's precision of detections: by hotcoco where it is installed, else by pycocotools; equal to the last bit.

Classes do not depend on each other, so they are evaluated in groups, and only the detections of a group are held in
the form that an evaluator reads.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from solo.errors import ConfigError
from solo.evaluation.detections import ImageDetections, boxes_xywh
from solo.garbage_collection import paused_garbage_collection

BACKENDS = ("auto", "hotcoco", "pycocotools")
GROUP_DETECTIONS = 50_000
"""About how many detections are evaluated at once."""


def choose_backend(name: str) -> Literal["hotcoco", "pycocotools"]:
    """The backend meant by a name of `BACKENDS`; "auto" is hotcoco where it is installed.

    Raises:
        ConfigError: the name is unknown, or stands for a package that is not installed.
    """
    if name not in BACKENDS:
        raise ConfigError(f"CocoMaskMetric.backend: {name!r} is unknown, expected one of {BACKENDS}")
    installed = importlib.util.find_spec("hotcoco") is not None
    if name == "hotcoco" and not installed:
        raise ConfigError("CocoMaskMetric.backend: hotcoco is not installed; 'auto' takes pycocotools then")
    return "hotcoco" if installed and name != "pycocotools" else "pycocotools"


@paused_garbage_collection()
def coco_precision(
    ground_truth: dict[str, Any],
    detections: Sequence[ImageDetections],
    *,
    name: str,
    category_ids: Sequence[Any],
    max_dets: int,
    backend: Literal["hotcoco", "pycocotools"],
) -> np.ndarray:
    """Precision over IoU thresholds, recalls, classes and area ranges.

    Args:
        ground_truth: a usable COCO annotation file (`usable_ground_truth`).
        detections: those of every image that is evaluated, each image once and at least one; the others do not count.
        name: "segm" to compare masks, "bbox" to compare boxes.
        category_ids: the category of each label.
        max_dets: how many detections of a class count in an image, best first.
        backend: who computes.

    Returns:
        (10, 101, C, 4) float64, -1 where it is not defined. Classes in the order of the labels.
    """
    image_numbers = {image_id: number for number, image_id in enumerate(sorted(d.image_id for d in detections), 1)}
    order = sorted(detections, key=lambda image: image_numbers[image.image_id])
    content = _numbered(ground_truth, image_numbers, category_ids, shape="segmentation" if name == "segm" else "bbox")
    evaluate = _Hotcoco(content, name) if backend == "hotcoco" else _Pycocotools(content, name)
    columns = _columns(order, image_numbers)
    counts = np.bincount(columns.categories - 1, minlength=len(category_ids))
    precision = [
        evaluate(
            _of_labels(columns, labels, images=order if name == "segm" else None),
            image_ids=list(image_numbers.values()),
            category_ids=[label + 1 for label in labels],
            max_dets=[min(1, max_dets), min(10, max_dets), max_dets],
        )[..., -1]
        for labels in _label_groups(counts)
    ]
    return np.concatenate(precision, axis=2)


def _label_groups(counts: np.ndarray) -> Iterator[range]:
    """Runs of labels with about `GROUP_DETECTIONS` detections each, given the number of each label's; all occur."""
    first, size = 0, 0
    for label, count in enumerate(counts.tolist()):
        if label > first and size + count > GROUP_DETECTIONS:
            yield range(first, label)
            first, size = label, 0
        size += count
    yield range(first, len(counts))


def _numbered(
    ground_truth: dict[str, Any], image_numbers: dict[Any, int], category_ids: Sequence[Any], *, shape: str
) -> dict[str, Any]:
    """The evaluated part of an annotation file, with images numbered as given and categories as label + 1.

    Only what the evaluation reads is left, of "segmentation" and "bbox" the one that `shape` names: evaluators refuse
    files for the form of a field they have no use for.
    """
    category_numbers = {category_id: number for number, category_id in enumerate(category_ids, 1)}
    return dict(
        images=[
            dict(
                id=image_numbers[image["id"]],
                file_name="",
                width=image.get("width") or 0,
                height=image.get("height") or 0,
            )
            for image in ground_truth["images"]
            if image["id"] in image_numbers
        ],
        annotations=[
            {
                "id": annotation["id"],
                "image_id": image_numbers[annotation["image_id"]],
                "category_id": category_numbers[annotation["category_id"]],
                "iscrowd": annotation["iscrowd"],
                "area": annotation["area"],
                shape: annotation[shape],
            }
            for annotation in ground_truth["annotations"]
            if annotation["image_id"] in image_numbers and annotation["category_id"] in category_numbers
        ],
        categories=[dict(id=label + 1, name=str(label)) for label in range(len(category_ids))],
    )


class _Columns(NamedTuple):
    """Detections of several images.

    Attributes:
        images: (D,) int64 numbers of the images.
        categories: (D,) int64.
        scores: (D,) float64.
        boxes: (D, 4) float64, x y width height.
        areas: (D,) float64, pixels of the masks.
        encodings: D run lengths, where masks are compared.
    """

    images: np.ndarray
    categories: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    encodings: list[Any] | None


def _columns(images: Sequence[ImageDetections], image_numbers: dict[Any, int]) -> _Columns:
    """All detections, without the run lengths."""
    return _Columns(
        images=np.repeat([image_numbers[image.image_id] for image in images], [len(image.labels) for image in images]),
        categories=np.concatenate([image.labels for image in images]).astype(np.int64) + 1,
        scores=np.concatenate([image.scores for image in images]).astype(np.float64),
        boxes=boxes_xywh(np.concatenate([image.boxes for image in images])),
        areas=np.concatenate([image.areas for image in images]),
        encodings=None,
    )


def _of_labels(columns: _Columns, labels: range, *, images: Sequence[ImageDetections] | None) -> _Columns:
    """The detections of some labels, with the run lengths where `images` holds them."""
    wanted = (columns.categories > labels.start) & (columns.categories <= labels.stop)
    encodings = None if images is None else _encodings(images, wanted)
    return _Columns(
        images=columns.images[wanted],
        categories=columns.categories[wanted],
        scores=columns.scores[wanted],
        boxes=columns.boxes[wanted],
        areas=columns.areas[wanted],
        encodings=encodings,
    )


def _encodings(images: Sequence[ImageDetections], wanted: np.ndarray) -> list[dict[str, Any]]:
    """Those of the wanted of all detections."""
    texts = itertools.chain.from_iterable(image.texts() for image in images)
    sizes = itertools.chain.from_iterable(itertools.repeat(image.size, len(image.labels)) for image in images)
    return [{"size": size, "counts": text} for size, text in itertools.compress(zip(sizes, texts, strict=True), wanted)]


class _Pycocotools:
    """pycocotools over one ground truth."""

    def __init__(self, content: dict[str, Any], name: str) -> None:
        self._ground_truth = _index(content)
        self._name = name

    def __call__(
        self,
        detections: _Columns,
        *,
        image_ids: list[int],
        category_ids: list[int],
        max_dets: list[int],
    ) -> np.ndarray:
        """(10, 101, len(category_ids), 4, 3) precision."""
        with contextlib.redirect_stdout(io.StringIO()):
            evaluator = COCOeval(self._ground_truth, self._load(detections), self._name)
            evaluator.params.imgIds = image_ids
            evaluator.params.catIds = category_ids
            evaluator.params.maxDets = max_dets
            evaluator.evaluate()
            evaluator.accumulate()
        return evaluator.eval["precision"]

    def _load(self, detections: _Columns) -> COCO:
        if len(detections.images) == 0:
            return _index({**self._ground_truth.dataset, "annotations": []})
        shapes: list[Any] = detections.boxes.tolist() if detections.encodings is None else detections.encodings
        rows = zip(
            detections.images.tolist(), detections.categories.tolist(), detections.scores.tolist(), shapes, strict=True
        )
        key = "bbox" if detections.encodings is None else "segmentation"
        return self._ground_truth.loadRes(
            [
                {"image_id": image, "category_id": category, "score": score, key: shape}
                for image, category, score, shape in rows
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
        detections: _Columns,
        *,
        image_ids: list[int],
        category_ids: list[int],
        max_dets: list[int],
    ) -> np.ndarray:
        """(10, 101, len(category_ids), 4, 3) precision."""
        evaluator = self._package.COCOeval(self._ground_truth, self._load(detections), self._name)
        params = evaluator.params  # a copy, to be set as a whole
        params.img_ids, params.cat_ids, params.max_dets = image_ids, category_ids, max_dets
        evaluator.params = params
        evaluator.evaluate()
        evaluator.accumulate()
        accumulated: Any = evaluator.eval
        return np.asarray(accumulated["precision"])

    def _load(self, detections: _Columns) -> Any:
        boxes = detections.boxes
        if detections.encodings is not None:
            # A row has the area of its box, which masks are not compared by: a box with the area of the mask.
            boxes = np.zeros_like(boxes)
            boxes[:, 2], boxes[:, 3] = detections.areas, 1
        rows = np.column_stack([detections.images, boxes, detections.scores, detections.categories])
        return self._ground_truth.load_res(rows, segmentation=detections.encodings)


def _index(content: dict[str, Any]) -> COCO:
    """A pycocotools index of `content`, without the progress it prints."""
    coco = COCO()
    coco.dataset = content
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco
