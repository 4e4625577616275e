"""Merged and split instances, and the names of mistakes, counted by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from solo.evaluation.report.measures import measure
from solo.evaluation.report.mistakes import ImageMistakes, find_mistakes
from tests.helpers.evaluation import CLASSES
from tests.helpers.reports import Box, random_images, scene

LEFT, MIDDLE, RIGHT = (0, 0, 20, 20), (20, 0, 20, 20), (40, 0, 20, 20)
ALL = (0, 0, 60, 20)


def mistakes(
    folder: Path, objects: list[tuple[int, Box]], found: list[tuple[int, float, Box]], *, threshold: float = 0.3
) -> ImageMistakes:
    images, detections = scene(folder, [objects], [found])
    measures, ordered = measure(images, detections, classes=CLASSES, max_dets=100)
    return find_mistakes(images, ordered, measures.matches, threshold=threshold)[0]


def test_three_objects_in_one_mask(tmp_path: Path) -> None:
    one = mistakes(tmp_path, [(0, LEFT), (0, MIDDLE), (0, RIGHT)], [(0, 0.9, ALL)])
    assert one.merged == [(0, 3)] and one.split == []
    assert one.kinds == {"missed, in a mask with others": 3, "mask of several objects": 1}
    assert one.missed.tolist() == [True] * 3 and one.false.tolist() == [True] and one.total == 4


def test_a_correct_mask_that_spills_over_a_lost_object_merges_it(tmp_path: Path) -> None:
    one = mistakes(tmp_path, [(0, (0, 0, 40, 20)), (0, RIGHT)], [(0, 0.9, ALL)])
    assert one.merged == [(0, 2)]
    assert one.kinds == {"missed, in a mask with others": 1}


def test_objects_with_masks_of_their_own_are_not_merged(tmp_path: Path) -> None:
    found = [(0, 0.9, ALL), (0, 0.8, LEFT), (0, 0.7, MIDDLE), (0, 0.6, RIGHT)]
    one = mistakes(tmp_path, [(0, LEFT), (0, MIDDLE), (0, RIGHT)], found)
    assert one.merged == [] and one.kinds == {"poor mask": 1}


def test_an_object_within_another_is_not_merged(tmp_path: Path) -> None:
    assert mistakes(tmp_path, [(0, ALL), (0, (20, 5, 10, 10))], [(0, 0.9, ALL)]).merged == []


def test_objects_of_different_classes_are_not_merged(tmp_path: Path) -> None:
    assert mistakes(tmp_path, [(0, LEFT), (1, MIDDLE)], [(0, 0.9, (0, 0, 40, 20))]).merged == []


def test_one_object_in_two_masks(tmp_path: Path) -> None:
    one = mistakes(tmp_path, [(1, ALL)], [(1, 0.9, (0, 0, 25, 20)), (1, 0.8, (25, 0, 25, 20)), (1, 0.1, RIGHT)])
    assert one.split == [(1, 2)] and one.merged == []
    assert one.kinds == {"missed by a poor mask": 1, "piece of an object": 2}


@pytest.mark.parametrize(
    ("second", "kind"),
    [
        ((0, 0, 58, 20), "duplicate"),  # repeats the first
        ((2, 2, 10, 8), "poor mask"),  # covers less than a tenth: 80 of 1200 pixels
        ((100, 100, 10, 10), "on background"),
    ],
)
def test_what_is_no_split(tmp_path: Path, second: Box, kind: str) -> None:
    one = mistakes(tmp_path, [(0, ALL)], [(0, 0.9, ALL), (0, 0.8, second)])
    expected = "on background" if kind == "poor mask" else kind  # its IoU is below 0.1 too
    assert one.split == [] and one.kinds == {expected: 1}


def test_wrong_class(tmp_path: Path) -> None:
    one = mistakes(tmp_path, [(0, LEFT)], [(1, 0.9, LEFT)])
    assert one.kinds == {"missed, found as another class": 1, "wrong class": 1}


def test_detections_below_the_score_do_not_count(tmp_path: Path) -> None:
    one = mistakes(tmp_path, [(0, LEFT)], [(0, 0.2, LEFT)])
    assert one.kinds == {"missed without a mask": 1} and one.detections == []


@pytest.mark.parametrize("seed", range(4))
def test_each_mistake_has_one_name(tmp_path: Path, seed: int) -> None:
    images, detections = random_images(tmp_path, seed)
    measures, ordered = measure(images, detections, classes=CLASSES, max_dets=100)
    for one, detected in zip(find_mistakes(images, ordered, measures.matches, threshold=0.4), ordered, strict=True):
        assert one.image_id == detected.image_id
        assert sum(one.kinds.values()) == one.total
        assert len(one.objects) - int(one.missed.sum()) == len(one.detections) - int(one.false.sum())
