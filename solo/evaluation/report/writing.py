"""Write the files of a report: `report.html` to read, `report.json` with the same numbers."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from solo.datasets.coco.annotation_table import AnnotatedImage
from solo.evaluation.detections import ImageDetections
from solo.evaluation.report.measures import SCORES, ClassMeasures, Measures, measure
from solo.evaluation.report.mistakes import ImageMistakes, find_mistakes
from solo.evaluation.report.page import MARK, render_page
from solo.evaluation.report.thumbnails import render
from solo.output_files import check_outputs, write_output

MAX_WORST = 50


def report_files(folder: str | os.PathLike[str]) -> tuple[Path, Path]:
    """The files of a report in a folder: the page, and its numbers."""
    return Path(folder) / "report.html", Path(folder) / "report.json"


def check_report(folder: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Refuse to replace files that are no report.

    Raises:
        OutputError: such a file exists and `overwrite` is False.
    """
    check_outputs(report_files(folder), overwrite=overwrite, mark=MARK.encode())


def write_report(
    folder: str | os.PathLike[str],
    *,
    images: Sequence[AnnotatedImage],
    detections: Sequence[ImageDetections],
    classes: Sequence[str],
    max_dets: int,
    title: str,
    image_paths: Mapping[Any, str],
    boundary_ap: float | None = None,
) -> Path:
    """Measure and write a report.

    Args:
        folder: where; it is made. An earlier report in it is replaced.
        images: the evaluated images with their objects.
        detections: those of every evaluated image, once.
        classes: names by label.
        max_dets: how many detections of a class count in an image.
        title: what was evaluated.
        image_paths: image id -> file, for the visualisations; an image without one is named without pixels.
        boundary_ap: boundary AP, to be shown beside mask AP; None where it was not computed.

    Returns:
        The path of the page.

    Raises:
        ConfigError: hotcoco is not installed.
        OutputError: a file cannot be written.
    """
    measures, ordered = measure(images, detections, classes=classes, max_dets=max_dets)
    threshold = measures.overall.scores.best_threshold
    threshold = 0.0 if math.isnan(threshold) else threshold  # without a correct detection all of them are mistakes
    mistakes = find_mistakes(images, ordered, measures.matches, threshold=threshold)
    worst = sorted((image for image in mistakes if image.total), key=lambda image: -image.total)[:MAX_WORST]
    shown = [
        (_name(image, image_paths), image, render(path, image) if (path := image_paths.get(image.image_id)) else None)
        for image in worst
    ]
    page, numbers = report_files(folder)
    values = _numbers(measures, mistakes, shown) | ({} if boundary_ap is None else {"boundary_ap": boundary_ap})
    write_output(numbers, json.dumps(values, indent=1).encode())
    content = render_page(measures, mistakes, title=title, worst=shown, boundary_ap=boundary_ap)
    write_output(page, content.encode("utf-8", "backslashreplace"))
    return page


def _name(image: ImageMistakes, paths: Mapping[Any, str]) -> str:
    path = paths.get(image.image_id)
    return Path(path).name if path else f"image {image.image_id}"


def _numbers(
    measures: Measures, mistakes: Sequence[ImageMistakes], shown: Sequence[tuple[str, ImageMistakes, str | None]]
) -> dict[str, Any]:
    bins, error = measures.calibration
    groups = ("ap", "ap_50", "objects", "images")
    return {
        "format": MARK,
        "images": measures.images,
        "overall": _class_numbers(measures.overall),
        "classes": [_class_numbers(one) for one in measures.classes],
        "score_thresholds": SCORES.round(2).tolist(),
        "confusion": measures.confusion.tolist(),
        "errors": {kind: dict(ap_50_gained=gain, number=count) for kind, (gain, count) in measures.errors.items()},
        "merged": _sharing(image.merged for image in mistakes),
        "split": _sharing(image.split for image in mistakes),
        "by_size": {name: dict(zip(groups, values, strict=True)) for name, values in measures.by_size.items()},
        "by_count": {name: dict(zip(groups, values, strict=True)) for name, values in measures.by_count.items()},
        "calibration": {"expected_error": error, "bins": bins},
        "mistakes": dict(sum((image.kinds for image in mistakes), Counter())),
        "worst_images": [
            dict(image_id=image.image_id, file=name, missed=int(image.missed.sum()), false=int(image.false.sum()))
            | dict(kinds=dict(image.kinds))
            for name, image, _ in shown
        ],
    }


def _class_numbers(one: ClassMeasures) -> dict[str, Any]:
    numbers = asdict(one)
    scores = numbers.pop("scores")
    scores["f1_curve"] = scores.pop("curve").round(6).tolist()
    if math.isnan(scores["best_threshold"]):  # JSON has no NaN
        scores["best_threshold"] = None
    numbers["precision_at_recall"] = np.round(numbers.pop("precision"), 6).tolist()
    return {**numbers, **scores}


def _sharing(groups: Any) -> dict[str, int]:
    counts = [count for group in groups for _, count in group]
    return dict(number=len(counts), members=sum(counts))
