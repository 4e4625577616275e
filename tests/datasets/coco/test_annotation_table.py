"""Boxes and masks of very many annotations, checked at once."""

from __future__ import annotations

import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from solo.datasets.coco.annotation_table import AnnotatedImage, AnnotationTable
from solo.datasets.coco.polygons import PolygonTable
from solo.datasets.coco.report import AnnotationReport
from solo.masks.segmentations import EMPTY
from tests.helpers.coco_files import SQUARE

IMAGES = [dict(id=image_id, height=16, width=24) for image_id in ("b", 7, 9)]
OUTSIDE = [[30.0, 2.0, 60.0, 2.0, 60.0, 10.0]]
RLE = dict(size=[16, 24], counts=[34, 8, 342])


def check(
    *rows: tuple[int, Any, bool], images: list[dict[str, Any]] = IMAGES, box: list[float] | None = None
) -> tuple[dict[Any, AnnotatedImage], AnnotationReport]:
    """Check rows of (image, segmentation, is a crowd region), with the row's number as label, id and left border."""
    polygons = PolygonTable()
    annotations = [
        polygons.extract_polygons(
            dict(
                id=number,
                image_id=images[image]["id"],
                category_id=number,
                iscrowd=int(is_crowd),
                bbox=box or [float(number), 2.0, 24.0 - number, 8.5],
                area=50.5 + number,
                segmentation=segmentation,
            )
        )
        for number, (image, segmentation, is_crowd) in enumerate(rows)
    ]
    report = AnnotationReport(path=Path("annotations.json"))
    table = AnnotationTable(images, {number: number for number in range(len(rows))}, polygons.check(), report)
    for annotation in annotations:
        table.append(annotation)
    return pickle.loads(pickle.dumps(table.check())), report


def instance(number: int, mask: Any, *, ignore_flag: int = 0) -> dict[str, Any]:
    return dict(bbox=[number, 2, 24, 10.5], bbox_label=number, ignore_flag=ignore_flag, mask=mask)


def instances(found: dict[Any, AnnotatedImage]) -> dict[Any, list[dict[str, Any]]]:
    return {image_id: list(image.instances) for image_id, image in found.items()}


def test_instances_come_back_image_by_image() -> None:
    found, report = check((1, SQUARE, False), (0, RLE, True), (1, [*SQUARE, *OUTSIDE], False))
    assert instances(found) == {
        "b": [instance(1, RLE, ignore_flag=1)],
        7: [instance(0, SQUARE), instance(2, [*SQUARE, *OUTSIDE])],
        9: [],
    }
    assert found[7].measures().tolist() == [[0, 2, 24, 8.5, 50.5], [2, 2, 22, 8.5, 52.5]]
    assert found[7].annotation_ids == [0, 2]
    assert (report.used, report.crowds, report.images_without_objects, report.problems) == (2, 1, 2, {})


def test_what_covers_no_pixel_is_left_out_and_named() -> None:
    kept, empty = (1, SQUARE, False), (1, OUTSIDE, False)
    found, report = check(empty, kept, (1, OUTSIDE, True), (1, RLE, False), empty, (2, SQUARE, True))
    assert report.problems == {EMPTY: [0, 2, 4]}
    assert instances(found)[7] == [instance(1, SQUARE), instance(3, RLE)]
    assert instances(found)[9] == [instance(5, SQUARE, ignore_flag=1)]
    assert (report.used, report.crowds) == (2, 1)


def test_no_annotation() -> None:
    found, report = check()
    assert list(instances(found).values()) == [[], [], []]
    assert report.images_without_objects == 3
    assert check(images=[])[0] == {}


HEIGHT, WIDTH = 24, 32


def have_pixels(polygons: list[list[float]]) -> bool:
    """The oracle: rasterise them."""
    return bool(coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, HEIGHT, WIDTH))).any())


def random_polygon(sample: random.Random) -> list[float]:
    """Small ones, thin ones and far ones, at integer and at fractional coordinates."""
    x, y = sample.uniform(-8, WIDTH + 8), sample.uniform(-8, HEIGHT + 8)
    reach_x, reach_y = sample.choice([0.2, 1, 3, 20]), sample.choice([0, 0.2, 1, 3, 20])
    points = sample.randrange(3, 8)
    found = [
        value + sample.uniform(-reach, reach) for _ in range(points) for value, reach in ((x, reach_x), (y, reach_y))
    ]
    return [float(round(value)) for value in found] if sample.random() < 0.3 else found


def test_equals_rasterising_all() -> None:
    sample = random.Random(0)
    objects = [[random_polygon(sample) for _ in range(sample.randrange(1, 3))] for _ in range(6000)]
    expected = [index for index, polygons in enumerate(objects) if not have_pixels(polygons)]
    images = [dict(id=1, height=HEIGHT, width=WIDTH)]
    _, report = check(*((0, polygons, False) for polygons in objects), images=images, box=[0.0, 0.0, 8.0, 8.0])
    assert report.problems == {EMPTY: expected}
    assert 500 < len(expected) < 5500


def test_sizes_are_those_of_each_image() -> None:
    square = [[10.0, 10.0, 20.0, 10.0, 20.0, 20.0, 10.0, 20.0]]
    sizes = [(24, 32), (8, 32), (24, 8), (9, 9)]
    images = [dict(id=number, height=height, width=width) for number, (height, width) in enumerate(sizes)]
    _, report = check(*((number, square, False) for number in range(4)), images=images, box=[0.0, 0.0, 8.0, 8.0])
    assert report.problems == {EMPTY: [1, 2, 3]}


def test_missing_boxes_and_areas_are_those_of_pycocotools() -> None:
    sample = random.Random(1)
    objects = [[random_polygon(sample) for _ in range(sample.randrange(1, 3))] for _ in range(300)]
    polygons = PolygonTable()
    annotations = [
        polygons.extract_polygons(dict(id=number, image_id=1, category_id=1, segmentation=found))
        for number, found in enumerate(objects)
    ]
    report = AnnotationReport(path=Path("a.json"))
    table = AnnotationTable([dict(id=1, height=HEIGHT, width=WIDTH)], {1: 0}, polygons.check(), report)
    for annotation in annotations:
        table.append(annotation)
    image = table.check()[1]
    encoded = [coco_mask.merge(coco_mask.frPyObjects(found, HEIGHT, WIDTH)) for found in objects if have_pixels(found)]
    expected = np.column_stack([coco_mask.toBbox(encoded), coco_mask.area(encoded)])
    np.testing.assert_array_equal(image.measures(), expected)
