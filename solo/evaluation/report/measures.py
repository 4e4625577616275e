"""The numbers of a report: AP by class, size and number of objects, curves over scores, confusion, errors by kind.

hotcoco computes what it computes on masks; the curves over scores are exact sums over its matches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from solo.datasets.coco.annotation_table import AnnotatedImage
from solo.evaluation.average_precision import HotcocoEvaluation, hotcoco_evaluation
from solo.evaluation.detections import ImageDetections

MATCH_IOU = 0.5
"""IoU from which a detection finds an object, here and in `COLUMNS` of the AP table."""

SCORES = np.linspace(0, 1, 101)
"""Thresholds at which the F1 curves are sampled."""

SIZES = {"small (area below 32²)": 1, "medium": 2, "large (area above 96²)": 3}
COUNTS = {"1": 1, "2-5": 5, "6-20": 20, "21-50": 50, "51-100": 100, "more than 100": np.inf}
"""Groups of images by the number of their objects, with the largest number of each."""

ERROR_KINDS = {
    "Cls": "wrong class, good mask",
    "Loc": "right class, poor mask",
    "Both": "wrong class and poor mask",
    "Dupe": "duplicate of a found object",
    "Bkg": "on background",
    "Miss": "object without any detection",
}


@dataclass(frozen=True, kw_only=True)
class ScoreCurve:
    """Precision, recall and F1 of the detections above each score.

    Attributes:
        best_threshold: lowest score of the detections that give the best F1; NaN without a correct one.
        precision, recall, f1: at that threshold; 0 without a correct detection.
        curve: (101,) F1 at the thresholds `SCORES`.
    """

    best_threshold: float
    precision: float
    recall: float
    f1: float
    curve: np.ndarray


@dataclass(frozen=True, kw_only=True)
class ClassMeasures:
    """What is known of a class, or of all together; AP is -1 without an object.

    Attributes:
        name: of the class.
        objects: ordinary objects, crowds left out.
        detections: those that count, at any score.
        ap, ap_50, ap_75: average precision.
        precision: (101,) at the recalls 0, 0.01, ... 1, at IoU 0.5.
        scores: curve over scores, at IoU 0.5.
    """

    name: str
    objects: int
    detections: int
    ap: float
    ap_50: float
    ap_75: float
    precision: np.ndarray
    scores: ScoreCurve


@dataclass(frozen=True, kw_only=True)
class Matches:
    """Which detection found which object, at IoU 0.5 and at any score.

    Attributes:
        found_by: for each image, in the order of the detections: (N,) index of the detection of each object, -1 for
            none; detections as in `HotcocoEvaluation.detections`.
        is_correct: (D,) bool for each image.
        counts: (D,) bool for each image; False for detections of crowds and those beyond `max_dets`.
    """

    found_by: list[np.ndarray]
    is_correct: list[np.ndarray]
    counts: list[np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Measures:
    """All numbers of a report that need no look at an image.

    Attributes:
        images: number of images.
        overall: all classes together; AP is the mean over the classes, the curve over scores counts every detection.
        classes: in the order of the labels.
        confusion: (C + 1, C + 1) int, rows the class of the object, columns that of the detection; the last row and
            column are background. Detections from `overall.scores.best_threshold` up.
        errors: TIDE's kinds of errors: AP at IoU 0.5 that would be gained without them, and their number.
        by_size, by_count: (AP, AP at IoU 0.5, objects, images) of the group; -1 without an object.
        calibration: bins of scores as (mean score, share that is correct, number), and the expected error.
        matches: of the detections with the objects.
    """

    images: int
    overall: ClassMeasures
    classes: list[ClassMeasures]
    confusion: np.ndarray
    errors: dict[str, tuple[float, int]]
    by_size: dict[str, tuple[float, float, int, int]]
    by_count: dict[str, tuple[float, float, int, int]]
    calibration: tuple[list[tuple[float, float, int]], float]
    matches: Matches = field(repr=False)


def measure(
    images: Sequence[AnnotatedImage],
    detections: Sequence[ImageDetections],
    *,
    classes: Sequence[str],
    max_dets: int,
) -> tuple[Measures, list[ImageDetections]]:
    """Compute the numbers of a report.

    Args:
        images: the evaluated images with their objects.
        detections: those of every evaluated image, once.
        classes: names by label.
        max_dets: how many detections of a class count in an image.

    Returns:
        The measures, and the detections in the order of `Measures.matches`.

    Raises:
        ConfigError: hotcoco is not installed.
    """
    options: dict[str, Any] = dict(num_classes=len(classes), max_dets=max_dets)
    found = hotcoco_evaluation(images, detections, **options)
    by_number = _by_number(images, found.image_numbers)
    first_ids = _first_object_ids(images, found.image_numbers)
    matches = _matches(found, by_number, first_ids)
    labels, scores, is_correct = _counted(found.detections, matches)
    objects = np.zeros(len(classes), np.int64)
    for image in by_number:
        np.add.at(objects, np.array(image.instances.labels, np.int64)[_ordinary(image)], 1)
    precision = np.asarray(found.evaluator.eval["precision"])[..., -1]  # (10, 101, C, 4)
    per_class = [
        _class_measures(
            name, precision[:, :, [label]], scores[labels == label], is_correct[labels == label], int(objects[label])
        )
        for label, name in enumerate(classes)
    ]
    overall = _class_measures("all classes", precision, scores, is_correct, int(objects.sum()))
    measures = Measures(
        images=len(by_number),
        overall=overall,
        classes=per_class,
        confusion=_confusion(images, found.detections, matches, overall.scores.best_threshold, **options),
        errors=_errors(found),
        by_size=_by_size(precision, by_number),
        by_count=_by_count(found, by_number),
        calibration=_calibration(found),
        matches=matches,
    )
    return measures, found.detections


def score_curve(scores: np.ndarray, is_correct: np.ndarray, num_objects: int) -> ScoreCurve:
    """F1 over the score threshold.

    Args:
        scores: (D,) of the detections.
        is_correct: (D,) bool, whether each found an object of its own.
        num_objects: objects to find.
    """
    order = np.argsort(-scores, kind="stable")
    sorted_scores, hits = scores[order], np.cumsum(is_correct[order])
    counts = np.arange(1, len(scores) + 1)
    f1 = 2 * hits / (counts + max(num_objects, 1))
    # Detections of one score stand or fall together: only the last of them is a threshold.
    is_last = np.append(sorted_scores[1:] != sorted_scores[:-1], True)[: len(scores)]
    f1 = np.where(is_last, f1, 0.0)
    above = np.searchsorted(-sorted_scores, -SCORES, side="right")  # detections with at least this score
    curve = np.where(above > 0, np.append(0.0, 2 * hits)[above] / (above + max(num_objects, 1)), 0.0)
    if not len(scores) or not hits[-1] or not num_objects:
        return ScoreCurve(best_threshold=float("nan"), precision=0.0, recall=0.0, f1=0.0, curve=curve)
    best = int(f1.argmax())
    return ScoreCurve(
        best_threshold=float(sorted_scores[best]),
        precision=float(hits[best] / counts[best]),
        recall=float(hits[best] / num_objects),
        f1=float(f1[best]),
        curve=curve,
    )


def _by_number(images: Sequence[AnnotatedImage], numbers: Mapping[Any, int]) -> list[AnnotatedImage]:
    return sorted((image for image in images if image.image_id in numbers), key=lambda i: numbers[i.image_id])


def _ordinary(image: AnnotatedImage) -> np.ndarray:
    """(N,) bool, False for crowds."""
    return np.array(image.instances.ignore_flags, np.int64).reshape(-1) == 0


def _matches(found: HotcocoEvaluation, images: Sequence[AnnotatedImage], first_ids: Mapping[Any, int]) -> Matches:
    status = found.evaluator.image_diagnostics(iou_thr=MATCH_IOU)
    matches = Matches(found_by=[], is_correct=[], counts=[])
    first_detection = 1
    for image, detected in zip(images, found.detections, strict=True):
        ids = range(first_detection, first_detection + len(detected.labels))
        objects = range(first_ids[image.image_id], first_ids[image.image_id] + len(image.instances))
        found_by = np.array([status["gt_match"].get(i, 0) for i in objects], np.int64)
        matches.found_by.append(np.where(found_by > 0, found_by - first_detection, -1))
        matches.is_correct.append(np.array([status["dt_status"].get(i) == "tp" for i in ids], bool))
        matches.counts.append(np.array([i in status["dt_status"] for i in ids], bool))
        first_detection += len(detected.labels)
    return matches


def _first_object_ids(images: Sequence[AnnotatedImage], numbers: Mapping[Any, int]) -> dict[Any, int]:
    """The id of the first object of each image in the evaluator, which counts them in the order of the images."""
    first, next_id = {}, 1
    for image in images:
        if image.image_id in numbers:
            first[image.image_id] = next_id
            next_id += len(image.instances)
    return first


def _counted(detections: Sequence[ImageDetections], matches: Matches) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(D,) labels, scores and correctness of all detections that count."""
    counts = np.concatenate(matches.counts)
    labels, scores = (np.concatenate([getattr(d, name) for d in detections]) for name in ("labels", "scores"))
    return labels[counts], scores[counts], np.concatenate(matches.is_correct)[counts]


def _class_measures(
    name: str, precision: np.ndarray, scores: np.ndarray, is_correct: np.ndarray, num_objects: int
) -> ClassMeasures:
    """Of precision (10, 101, C, 4), averaged over its classes."""
    has_objects = precision[0, 0, :, 0] > -1
    curve = precision[0][:, has_objects, 0].mean(axis=1) if has_objects.any() else np.full(101, -1.0)
    return ClassMeasures(
        name=name,
        objects=num_objects,
        detections=len(scores),
        ap=_mean(precision[..., 0]),
        ap_50=_mean(precision[0, ..., 0]),
        ap_75=_mean(precision[5, ..., 0]),
        precision=curve,
        scores=score_curve(scores, is_correct, num_objects),
    )


def _mean(precision: np.ndarray) -> float:
    defined = precision[precision > -1]
    return float(defined.mean()) if defined.size else -1.0


def _confusion(
    images: Sequence[AnnotatedImage],
    detections: Sequence[ImageDetections],
    matches: Matches,
    threshold: float,
    **options: Any,
) -> np.ndarray:
    """hotcoco's matrix of the detections that count: itself it would take one of a crowd for one of background."""
    kept = [d.select(counts & (d.scores >= threshold)) for d, counts in zip(detections, matches.counts, strict=True)]
    result = hotcoco_evaluation(images, kept, **options).evaluator.confusion_matrix(
        iou_thr=MATCH_IOU, max_det=max([1, *(len(d.labels) for d in kept)])
    )
    return np.asarray(result["matrix"]).astype(np.int64)


def _errors(found: HotcocoEvaluation) -> dict[str, tuple[float, int]]:
    errors = found.evaluator.tide_errors(pos_thr=MATCH_IOU, bg_thr=0.1)
    return {kind: (float(errors["delta_ap"][kind]), int(errors["counts"][kind])) for kind in ERROR_KINDS}


def _by_size(precision: np.ndarray, images: Sequence[AnnotatedImage]) -> dict[str, tuple[float, float, int, int]]:
    areas = [image.measures()[_ordinary(image), 4] for image in images]
    bounds = {1: (0, 32**2), 2: (32**2, 96**2), 3: (96**2, np.inf)}
    groups = {}
    for name, column in SIZES.items():
        low, high = bounds[column]
        inside = [int(((area >= low) & (area < high)).sum()) for area in areas]
        columns = precision[..., column]
        groups[name] = (_mean(columns), _mean(columns[0]), sum(inside), sum(map(bool, inside)))
    return groups


def _by_count(found: HotcocoEvaluation, images: Sequence[AnnotatedImage]) -> dict[str, tuple[float, float, int, int]]:
    numbers = np.array([found.image_numbers[image.image_id] for image in images])
    counts = np.array([int(_ordinary(image).sum()) for image in images])
    inside: dict[str, np.ndarray] = {}
    low = 0.0
    for name, high in COUNTS.items():
        inside[name], low = (counts > low) & (counts <= high), high
    slices = {name: numbers[rows].tolist() for name, rows in inside.items() if rows.any()}
    results = found.evaluator.slice_by(slices) if slices else {}
    return {
        name: (results[name]["AP"], results[name]["AP50"], int(counts[rows].sum()), int(rows.sum()))
        for name, rows in inside.items()
        if name in results
    }


def _calibration(found: HotcocoEvaluation) -> tuple[list[tuple[float, float, int]], float]:
    result = found.evaluator.calibration(n_bins=10, iou_threshold=MATCH_IOU)
    bins = [(b["avg_confidence"], b["avg_accuracy"], b["count"]) for b in result["bins"] if b["count"]]
    return bins, float(result["ece"])
