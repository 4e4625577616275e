"""Weighted AP against pycocotools over images that are really repeated, and the intervals."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from solo.evaluation.comparison import Comparison, _matches, _precision, compare
from solo.evaluation.detections import ImageDetections
from tests.helpers.evaluation import CATEGORY_IDS, CLASSES, random_scene, write_file
from tests.helpers.reports import random_images, read, scene

OPTIONS = dict(classes=CLASSES, max_dets=100, resamples=50, seed=0)


def repeated_ap(annotations: list[dict], results: list[dict], weights: np.ndarray) -> np.ndarray:
    """pycocotools' AP by threshold and class when image i is in the data set weights[i] times."""
    images, objects, found = [], [], []
    for index, weight in enumerate(weights.tolist()):
        for copy in range(weight):
            number = len(images) + 1
            images.append(dict(id=number, width=160, height=120, name=copy))
            objects += [{**a, "image_id": number} for a in annotations if a["image_id"] == 10 + index]
            found += [{**r, "image_id": number} for r in results if r["image_id"] == 10 + index]
    objects = [{**entry, "id": number} for number, entry in enumerate(objects, 1)]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        categories = [dict(id=i, name=str(i)) for i in CATEGORY_IDS]
        truth.dataset = dict(images=images, annotations=objects, categories=categories)
        truth.createIndex()
        evaluator = COCOeval(truth, truth.loadRes(found), "segm")
        evaluator.evaluate()
        evaluator.accumulate()
    precision = evaluator.eval["precision"][..., 0, -1]  # (10, 101, C)
    return np.where(precision > -1, precision, np.nan).mean(axis=1)


@pytest.mark.parametrize("seed", range(4))
def test_weights_repeat_images(tmp_path: Path, seed: int) -> None:
    annotations, predictions = random_scene(seed)
    images = read(write_file(tmp_path, annotations, num_images=4))
    detections = [ImageDetections.from_instances(p["img_id"], p["pred_instances"]) for p in predictions]
    results = [result for image in detections for result in image.to_coco(CATEGORY_IDS)]
    side = _matches(images, detections, num_classes=3, max_dets=100)
    for weights in ([1, 1, 1, 1], [0, 2, 1, 1], [3, 0, 0, 1]):
        expected = repeated_ap(annotations, results, np.array(weights))
        np.testing.assert_allclose(_precision(side, np.array(weights)), expected, rtol=1e-12)


def without(detections: list[ImageDetections], count: int) -> list[ImageDetections]:
    """The same without the detections of the first `count` images."""
    return [d.select(np.full(len(d.labels), index >= count)) for index, d in enumerate(detections)]


def test_equal_detections_do_not_differ(tmp_path: Path) -> None:
    images, detections = random_images(tmp_path, 0)
    for row in compare(images, detections, detections, **OPTIONS).overall:
        assert (row.difference, row.low, row.high, row.share_better) == (0, 0, 0, 0)


def test_a_certain_difference_has_an_interval_beyond_zero(tmp_path: Path) -> None:
    """Each image has one object; A finds all of them, B none: whatever is drawn, the AP falls from 1 to 0."""
    objects = [[(0, (10, 10, 30, 30))]] * 5
    found = [[(0, 0.9, (10, 10, 30, 30))]] * 5
    images, detections = scene(tmp_path, objects, found)
    ap = compare(images, detections, without(detections, 5), **OPTIONS).overall[0]
    assert (ap.first, ap.second, ap.low, ap.high, ap.share_better) == (1, 0, -1, -1, 0)


def test_the_interval_is_that_of_the_share_of_images(tmp_path: Path) -> None:
    """B misses every second object: the AP 50 of a resample is the share of images whose object it finds."""
    objects = [[(0, (10, 10, 30, 30))]] * 40
    found = [[(0, 0.9, (10, 10, 30, 30))]] * 40
    images, detections = scene(tmp_path, objects, found)
    ap = compare(images, without(detections, 20), detections, **{**OPTIONS, "resamples": 400}).overall[1]
    assert ap.difference == pytest.approx(0.5, abs=0.01)
    deviation = (0.5 * 0.5 / 40) ** 0.5
    assert ap.low == pytest.approx(0.5 - 1.96 * deviation, abs=0.04)
    assert ap.high == pytest.approx(0.5 + 1.96 * deviation, abs=0.04)


def test_seeded(tmp_path: Path) -> None:
    images, detections = random_images(tmp_path, 0)
    other = without(detections, 1)

    def bounds(seed: int) -> list[float]:
        comparison: Comparison = compare(images, detections, other, **{**OPTIONS, "seed": seed})
        return [bound for row in comparison.overall for bound in (row.low, row.high)]

    assert bounds(0) == bounds(0) != bounds(1)


def test_images_in_common_count(tmp_path: Path) -> None:
    images, detections = random_images(tmp_path, 0)
    assert compare(images, detections, detections[1:], **OPTIONS).images == 3
    with pytest.raises(ValueError, match="no image in common"):
        compare(images, detections[:1], detections[1:], **OPTIONS)


def test_a_class_without_objects_is_not_a_number(tmp_path: Path) -> None:
    images, detections = scene(tmp_path, [[(0, (10, 10, 30, 30))]], [[(1, 0.9, (10, 10, 30, 30))]])
    rows = compare(images, detections, detections, **OPTIONS).classes
    assert [np.isnan(row.first) for row in rows] == [False, True, True]
