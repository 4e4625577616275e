"""Statistics of a file that is counted by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from solo.datasets.insight.plots import plot_statistics
from solo.datasets.insight.source import AnnotationSource
from solo.datasets.insight.statistics import DataStatistics, largest_ious
from tests.helpers.coco_files import annotation, content, write


@pytest.fixture
def statistics(tmp_path: Path) -> DataStatistics:
    """Three images: two cats, which overlap by a third, and a dog in the first, a crowd in the second, nothing."""
    annotations = [
        annotation(1),
        annotation(2, bbox=[6.0, 2.0, 8.0, 8.0], area=60),
        annotation(3, category_id=7, bbox=[20.0, 10.0, 4.0, 4.0], area=None),
        annotation(4, image_id=2, iscrowd=1),
    ]
    path = write(tmp_path, content(annotations, num_images=3))
    return DataStatistics.from_source(AnnotationSource.open(path))


def test_counts(statistics: DataStatistics) -> None:
    values = statistics.as_dict()
    assert (values["images"], values["images_without_objects"]) == (3, 2)
    assert (values["objects"], values["crowd_regions"]) == (3, 1)
    assert values["image_sizes"] == {"24 x 16": 3}
    assert values["quantiles"]["objects an image"]["max"] == 3
    assert values["quantiles"]["sqrt of box area (px)"]["median"] == 8
    assert values["classes"]["cat"] == {"objects": 2, "images": 1, "median_sqrt_box_area": 8}
    assert values["classes"]["dog"] == {"objects": 1, "images": 1, "median_sqrt_box_area": 4}
    assert values["coco_sizes"] == {"small": 1, "medium": 0, "large": 0}


def test_a_missing_area_is_counted_in_the_mask(statistics: DataStatistics) -> None:
    assert statistics.areas.tolist() == [64, 60, 64]


def test_overlap(statistics: DataStatistics) -> None:
    np.testing.assert_allclose(statistics.overlaps, [1 / 3, 1 / 3, 0])
    shares = statistics.as_dict()["overlap"]
    assert shares == {"box IoU > 0": 2 / 3, "box IoU > 0.3": 2 / 3, "box IoU > 0.5": 0, "box IoU > 0.7": 0}


def test_ious_of_one_box_and_of_touching_boxes() -> None:
    assert largest_ious(np.array([[0.0, 0, 4, 4]])).tolist() == [0]
    assert largest_ious(np.array([[0.0, 0, 4, 4], [4, 0, 8, 4]])).tolist() == [0, 0]
    np.testing.assert_allclose(largest_ious(np.array([[0.0, 0, 4, 4], [0, 0, 4, 4], [0, 0, 2, 4]])), [1, 1, 0.5])


def test_text_names_everything(statistics: DataStatistics) -> None:
    text = str(statistics)
    assert "3 images (2 without objects), 3 objects, 1 crowd regions" in text
    assert "24 x 16" in text and "cat" in text and "100.0% small" in text


def test_a_file_without_objects(tmp_path: Path) -> None:
    statistics = DataStatistics.from_source(AnnotationSource.open(write(tmp_path, content([]))))
    assert statistics.as_dict()["objects"] == 0
    assert not math.isnan(statistics.as_dict()["quantiles"]["mask area (px)"]["median"])
    assert "0 objects" in str(statistics)


def test_plots(statistics: DataStatistics) -> None:
    pytest.importorskip("matplotlib")
    assert plot_statistics(statistics).startswith(b"\x89PNG")
