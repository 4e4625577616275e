"""The numbers of a report against short references written from their definitions, on scenes with crowds."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from solo.datasets.coco.annotation_table import AnnotatedImage
from solo.evaluation.average_precision import coco_precision
from solo.evaluation.detections import ImageDetections
from solo.evaluation.report.measures import ERROR_KINDS, SCORES, measure, score_curve
from solo.masks.rle import decode_masks, encode_runs
from solo.masks.segmentations import runs_from_segmentations
from tests.helpers.evaluation import CLASSES, HEIGHT, WIDTH
from tests.helpers.reports import random_images, scene

SEEDS = range(6)


def bitmaps(image: AnnotatedImage) -> np.ndarray:
    runs = runs_from_segmentations(image.instances.masks, height=HEIGHT, width=WIDTH)
    return decode_masks(encode_runs(runs), size=(HEIGHT, WIDTH)) if len(image.instances) else np.zeros((0, 1, 1), bool)


class Reference:
    """One image in bitmaps: IoU of every detection with every object, crowds apart; COCO's greedy matches at 0.5."""

    def __init__(self, image: AnnotatedImage, detected: ImageDetections) -> None:
        objects, masks = bitmaps(image), decode_masks(detected.encodings(), size=(HEIGHT, WIDTH))
        self.labels, self.crowd = np.array(image.instances.labels, int), np.array(image.instances.ignore_flags, bool)
        self.found, self.scores = detected.labels, detected.scores
        self.iou = np.array(
            [
                [
                    (o & m).sum() / ((m if is_crowd else o | m).sum() or 1)
                    for o, is_crowd in zip(objects, self.crowd, strict=True)
                ]
                for m in masks
            ]
        ).reshape(len(masks), len(objects))
        self.order = np.argsort(-self.scores, kind="stable")
        self.match = np.full(len(masks), -1)
        for d in self.order:
            self.match[d] = self._best(d)
        self.is_ignored = np.array([m >= 0 and self.crowd[m] for m in self.match], bool)
        self.is_correct = (self.match >= 0) & ~self.is_ignored

    def _best(self, d: int) -> int:
        same = self.labels == self.found[d]
        free = [o for o in np.flatnonzero(same & ~self.crowd) if o not in self.match and self.iou[d, o] >= 0.5]
        if free:
            return max(free, key=lambda o: self.iou[d, o])
        crowds = [o for o in np.flatnonzero(same & self.crowd) if self.iou[d, o] >= 0.5]
        return max(crowds, key=lambda o: self.iou[d, o], default=-1)


def references(images: list[AnnotatedImage], detections: list[ImageDetections]) -> list[Reference]:
    by_id = {image.image_id: image for image in images}
    return [Reference(by_id[detected.image_id], detected) for detected in detections]


@pytest.mark.parametrize("seed", SEEDS)
def test_average_precision_is_the_metric_s(tmp_path: Path, seed: int) -> None:
    images, detections = random_images(tmp_path, seed)
    measures, _ = measure(images, detections, classes=CLASSES, max_dets=100)
    precision = coco_precision(images, detections, name="segm", num_classes=3, max_dets=100, backend="pycocotools")
    for label, one in enumerate(measures.classes):
        values = precision[:, :, label, 0]
        assert one.ap == (values[values > -1].mean() if (values > -1).any() else -1)
        assert (one.precision == precision[0, :, label, 0]).all()
    defined = precision[precision[..., 0] > -1][:, 0]
    assert measures.overall.ap == pytest.approx(defined.mean())
    small = precision[..., 1][precision[..., 1] > -1]
    assert measures.by_size["small (area below 32²)"][0] == pytest.approx(small.mean() if small.size else -1)


@pytest.mark.parametrize("seed", SEEDS)
def test_matches_and_curves(tmp_path: Path, seed: int) -> None:
    images, detections = random_images(tmp_path, seed)
    measures, ordered = measure(images, detections, classes=CLASSES, max_dets=100)
    expected = references(images, ordered)
    for row, reference in enumerate(expected):
        assert (measures.matches.is_correct[row] == reference.is_correct).all()
        assert (measures.matches.counts[row] == ~reference.is_ignored).all()
        found_by = measures.matches.found_by[row]
        assert {(d, o) for o, d in enumerate(found_by) if d >= 0} == {
            (d, o) for d, o in enumerate(reference.match) if reference.is_correct[d]
        }
    scores = np.concatenate([r.scores[~r.is_ignored] for r in expected])
    hits = np.concatenate([r.is_correct[~r.is_ignored] for r in expected])
    objects = sum(int((~r.crowd).sum()) for r in expected)
    by_threshold = {t: 2 * hits[scores >= t].sum() / ((scores >= t).sum() + objects) for t in scores.tolist()}
    overall = measures.overall.scores
    assert overall.f1 == pytest.approx(max(by_threshold.values()))
    assert by_threshold[overall.best_threshold] == pytest.approx(overall.f1)
    assert overall.precision == hits[scores >= overall.best_threshold].mean()
    for threshold, value in zip(SCORES, overall.curve, strict=True):
        above = scores >= threshold
        assert value == pytest.approx(2 * hits[above].sum() / (above.sum() + objects))


@pytest.mark.parametrize("seed", SEEDS)
def test_confusion(tmp_path: Path, seed: int) -> None:
    images, detections = random_images(tmp_path, seed)
    measures, ordered = measure(images, detections, classes=CLASSES, max_dets=100)
    expected = np.zeros((4, 4), int)
    for reference in references(images, ordered):
        kept = (reference.scores >= measures.overall.scores.best_threshold) & ~reference.is_ignored
        iou = np.where(reference.crowd, 0, reference.iou)
        taken: set[int] = set()
        for d in reference.order:
            if not kept[d]:
                continue
            free = [o for o in range(len(reference.labels)) if o not in taken and iou[d, o] >= 0.5]
            best = max(free, key=lambda o: iou[d, o], default=None)
            expected[3 if best is None else reference.labels[best], reference.found[d]] += 1
            taken |= set() if best is None else {best}
        for o in np.flatnonzero(~reference.crowd):
            expected[reference.labels[o], 3] += o not in taken
    assert measures.confusion.tolist() == expected.tolist()


@pytest.mark.parametrize("seed", SEEDS)
def test_kinds_of_errors(tmp_path: Path, seed: int) -> None:
    """TIDE's order of questions: same class at 0.1 to 0.5, other class from 0.5, duplicate, background, both."""
    images, detections = random_images(tmp_path, seed)
    measures, ordered = measure(images, detections, classes=CLASSES, max_dets=100)
    counts = dict.fromkeys(ERROR_KINDS, 0)
    for reference in references(images, ordered):
        iou = np.where(reference.crowd, 0, reference.iou)
        explained: set[int] = set()
        for d in np.flatnonzero(~reference.is_correct & ~reference.is_ignored):
            same = reference.labels == reference.found[d]
            own, other = (np.where(which, iou[d], 0) for which in (same, ~same))
            if 0.1 <= max(own, default=0) < 0.5:
                counts["Loc"] += 1
                explained.add(int(own.argmax()))
            elif max(other, default=0) >= 0.5:
                counts["Cls"] += 1
                explained.add(int(other.argmax()))
            elif max(own, default=0) >= 0.5:
                counts["Dupe"] += 1
            elif max(iou[d], default=0) < 0.1:
                counts["Bkg"] += 1
            else:
                counts["Both"] += 1
        missed = set(np.flatnonzero(~reference.crowd)) - set(reference.match.tolist())
        counts["Miss"] += len(missed - explained)
    assert {kind: number for kind, (_, number) in measures.errors.items()} == counts


@pytest.mark.parametrize("seed", SEEDS)
def test_calibration(tmp_path: Path, seed: int) -> None:
    images, detections = random_images(tmp_path, seed)
    measures, ordered = measure(images, detections, classes=CLASSES, max_dets=100)
    expected = references(images, ordered)
    scores = np.concatenate([r.scores[~r.is_ignored] for r in expected]).astype(float)
    hits = np.concatenate([r.is_correct[~r.is_ignored] for r in expected])
    bins, error = measures.calibration
    inside = [(scores >= low) & (scores < high) for low, high in pairwise(np.linspace(0, 1, 11))]
    filled = [rows for rows in inside if rows.any()]
    assert [count for _, _, count in bins] == [rows.sum() for rows in filled]
    assert np.allclose(
        [(score, share) for score, share, _ in bins], [(scores[r].mean(), hits[r].mean()) for r in filled]
    )
    assert error == pytest.approx(sum(rows.mean() * abs(scores[rows].mean() - hits[rows].mean()) for rows in filled))


def test_ap_by_number_of_objects_is_that_of_the_images_alone(tmp_path: Path) -> None:
    images, detections = random_images(tmp_path, 0)
    measures, _ = measure(images, detections, classes=CLASSES, max_dets=100)
    counts = {image.image_id: image.instances.ignore_flags.count(0) for image in images}
    few = [detected for detected in detections if 2 <= counts[detected.image_id] <= 5]
    assert few
    alone, _ = measure(images, few, classes=CLASSES, max_dets=100)
    ap, ap_50, objects, number = measures.by_count["2-5"]
    assert (ap, ap_50) == pytest.approx((alone.overall.ap, alone.overall.ap_50))
    assert (objects, number) == (alone.overall.objects, len(few))


def test_errors_by_hand(tmp_path: Path) -> None:
    """Half of the objects are found with another class: AP 50 is 0.25, and would be 0.5 or more without that."""
    objects = [[(0, (0, 0, 20, 20)), (1, (40, 40, 20, 20))], [(0, (0, 0, 20, 20))]]
    found = [[(0, 0.9, (0, 0, 20, 19)), (0, 0.8, (40, 40, 20, 19))], [(0, 0.5, (100, 80, 20, 20))]]
    measures, _ = measure(*scene(tmp_path, objects, found), classes=CLASSES, max_dets=100)
    assert {kind: number for kind, (_, number) in measures.errors.items() if number} == dict(Cls=1, Bkg=1, Miss=1)
    assert measures.overall.scores.best_threshold == pytest.approx(0.9)
    assert measures.confusion.tolist() == [[1, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert measures.errors["Cls"][0] >= 0.25


def test_ties_share_a_threshold() -> None:
    """At 0.5 a correct and a false detection stand or fall together."""
    curve = score_curve(np.array([0.9, 0.5, 0.5], np.float32), np.array([True, True, False]), 2)
    assert (curve.best_threshold, curve.precision, curve.recall, curve.f1) == (0.5, 2 / 3, 1.0, 0.8)
    assert curve.curve[[0, 50, 51, 91]].tolist() == [0.8, 0.8, 2 / 3, 0.0]


@pytest.mark.parametrize(("scores", "objects"), [([], 3), ([0.5], 3), ([], 0), ([0.5], 0)])
def test_nothing_correct(scores: list[float], objects: int) -> None:
    curve = score_curve(np.array(scores), np.zeros(len(scores), bool), objects)
    assert np.isnan(curve.best_threshold) and curve.f1 == 0 and not curve.curve.any()
