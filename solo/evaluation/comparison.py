"""Compare two sets of detections of the same images: differences of AP with bootstrap intervals over the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from solo.datasets.coco.annotation_table import AnnotatedImage
from solo.evaluation.average_precision import hotcoco_evaluation
from solo.evaluation.detections import ImageDetections

RECALLS = np.linspace(0, 1, 101)
IOU_THRESHOLDS = {"AP": slice(None), "AP 50": slice(0, 1), "AP 75": slice(5, 6)}


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A measure of two sets of detections, A and B; NaN without an object.

    Attributes:
        name: "AP", "AP 50", "AP 75", or the name of a class for its AP.
        first, second: of A and of B, over all images.
        low, high: bounds of the interval of `second - first`.
        share_better: share of the resamples in which B is better.
    """

    name: str
    first: float
    second: float
    low: float
    high: float
    share_better: float

    @property
    def difference(self) -> float:
        """How much B is better than A."""
        return self.second - self.first


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Differences over all classes and of each class.

    Attributes:
        images: number of compared images.
        overall: AP, AP 50 and AP 75.
        classes: AP of each class, in the order of the labels.
    """

    images: int
    overall: list[Difference]
    classes: list[Difference]


def compare(
    images: Sequence[AnnotatedImage],
    first: Sequence[ImageDetections],
    second: Sequence[ImageDetections],
    *,
    classes: Sequence[str],
    max_dets: int,
    resamples: int,
    seed: int,
    confidence: float = 0.95,
) -> Comparison:
    """Compare detections A and B of the same images.

    Each resample draws as many images as there are, with replacement, the same ones for A and B; its AP is that of
    COCO over the drawn images. The interval holds the middle `confidence` of the differences (percentile bootstrap).

    Args:
        images: with their objects.
        first: detections A, each image once; images that B lacks do not count.
        second: detections B.
        classes: names by label.
        max_dets: how many detections of a class count in an image.
        resamples: number of resamples.
        seed: of the drawn images.
        confidence: share of the differences inside the interval.

    Raises:
        ValueError: A and B have no image in common.
        ConfigError: hotcoco is not installed.
    """
    shared = {d.image_id for d in first} & {d.image_id for d in second}
    if not shared:
        raise ValueError("the two files have no image in common")
    options: dict[str, Any] = dict(num_classes=len(classes), max_dets=max_dets)
    sides = [_matches(images, [d for d in side if d.image_id in shared], **options) for side in (first, second)]
    whole = np.ones(len(shared), np.int64)
    generator = np.random.default_rng(seed)
    draws = (generator.multinomial(len(shared), np.full(len(shared), 1 / len(shared))) for _ in range(resamples))
    points = np.stack([_precision(side, whole) for side in sides])  # (2, 10, C)
    resampled = np.stack([[_precision(side, weights) for side in sides] for weights in draws])  # (R, 2, 10, C)
    tails = (1 - confidence) / 2
    overall = [
        _difference(name, _mean(points[:, at]), _mean(resampled[:, :, at]), tails)
        for name, at in IOU_THRESHOLDS.items()
    ]
    per_class = [
        _difference(name, _mean(points[..., [label]]), _mean(resampled[..., [label]]), tails)
        for label, name in enumerate(classes)
    ]
    return Comparison(images=len(shared), overall=overall, classes=per_class)


@dataclass(frozen=True, kw_only=True)
class ClassMatches:
    """The detections of a class in all images, best first.

    Attributes:
        image: (D,) int, index of the image.
        is_correct, is_false: (10, D) bool by IoU threshold; both False for a detection of a crowd.
        objects: (I,) int, ordinary objects of each image.
    """

    image: np.ndarray
    is_correct: np.ndarray
    is_false: np.ndarray
    objects: np.ndarray


def class_precision(matches: ClassMatches, weights: np.ndarray) -> np.ndarray:
    """COCO's average precision when each image counts several times.

    Args:
        matches: of a class.
        weights: (I,) int, how often each image counts.

    Returns:
        (10,) by IoU threshold; NaN without an object.
    """
    objects = int(matches.objects @ weights)
    if not objects:
        return np.full(len(matches.is_correct), np.nan)
    weight = weights[matches.image]  # (D,)
    correct = np.cumsum(matches.is_correct * weight, axis=1)  # (10, D)
    total = correct + np.cumsum(matches.is_false * weight, axis=1)
    precision = correct / np.maximum(total, 1)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    # Recalls above the last one have precision 0.
    envelope = np.pad(envelope, ((0, 0), (0, 1)))
    at = np.stack([np.searchsorted(row, RECALLS, side="left") for row in correct / objects])  # (10, 101)
    return np.take_along_axis(envelope, at, axis=1).mean(axis=1)


def _precision(side: Sequence[ClassMatches], weights: np.ndarray) -> np.ndarray:
    """(10, C) of all classes."""
    return np.stack([class_precision(matches, weights) for matches in side], axis=1)


def _matches(
    images: Sequence[AnnotatedImage], detections: Sequence[ImageDetections], *, num_classes: int, max_dets: int
) -> list[ClassMatches]:
    found = hotcoco_evaluation(images, detections, num_classes=num_classes, max_dets=max_dets, by_area=False)
    entries: list[list[Mapping[str, Any]]] = [[] for _ in range(num_classes)]
    for entry in found.evaluator.eval_imgs:
        if entry is not None:
            entries[entry["category_id"] - 1].append(entry)
    return [_class_matches(sorted(group, key=lambda e: e["image_id"]), len(detections)) for group in entries]


def _class_matches(entries: Sequence[Mapping[str, Any]], num_images: int) -> ClassMatches:
    counts = [len(entry["dtScores"]) for entry in entries]
    image = np.repeat([entry["image_id"] - 1 for entry in entries], counts).astype(np.int64)
    scores = np.concatenate([np.zeros(0), *(entry["dtScores"] for entry in entries)])
    order = np.argsort(-scores, kind="mergesort")
    matched, ignored = (
        np.concatenate([np.zeros((10, 0), bool), *(np.array(entry[key], bool).reshape(10, -1) for entry in entries)], 1)
        for key in ("dtMatched", "dtIgnore")
    )
    objects = np.zeros(num_images, np.int64)
    for entry in entries:
        objects[entry["image_id"] - 1] = sum(entry["gtInDenominator"])
    return ClassMatches(
        image=image[order],
        is_correct=(matched & ~ignored)[:, order],
        is_false=(~matched & ~ignored)[:, order],
        objects=objects,
    )


def _mean(precision: np.ndarray) -> np.ndarray:
    """Mean over the last two axes, thresholds and classes, without classes that have no object."""
    defined = ~np.isnan(precision)
    counts = defined.sum(axis=(-2, -1))
    return np.where(counts, np.where(defined, precision, 0).sum(axis=(-2, -1)) / np.maximum(counts, 1), np.nan)


def _difference(name: str, points: np.ndarray, resampled: np.ndarray, tails: float) -> Difference:
    """Of the values (2,) and the resampled ones (R, 2)."""
    differences = resampled[:, 1] - resampled[:, 0]
    differences = differences[~np.isnan(differences)]
    low, high = np.quantile(differences, [tails, 1 - tails]) if len(differences) else (np.nan, np.nan)
    return Difference(
        name=name,
        first=float(points[0]),
        second=float(points[1]),
        low=float(low),
        high=float(high),
        share_better=float((differences > 0).mean()) if len(differences) else float("nan"),
    )
