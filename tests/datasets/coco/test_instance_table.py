from __future__ import annotations

import pickle
from typing import Any

from solo.datasets.coco.instance_table import InstanceTable
from solo.datasets.coco.polygon_table import PolygonTable
from tests.helpers.coco_files import SQUARE

IMAGES = [dict(id=image_id, height=16, width=24) for image_id in ("b", 7, 9)]
OUTSIDE = [[30.0, 2.0, 60.0, 2.0, 60.0, 10.0]]
RLE = dict(size=[16, 24], counts=[34, 8, 342])


def filled(*rows: tuple[dict[str, Any], Any, bool]) -> tuple[InstanceTable, Any]:
    """A table of (image, segmentation, is a crowd region), with the row's number as label, id and left border."""
    polygons, table = PolygonTable(), InstanceTable(image["id"] for image in IMAGES)
    for number, (image, segmentation, is_crowd) in enumerate(rows):
        mask = polygons.take_from(dict(segmentation=segmentation))["segmentation"]
        box = [float(number), 2.0, 24.0, 10.5]
        table.append(annotation_id=number, image=image, box=box, label=number, is_crowd=is_crowd, mask=mask)
    return table, polygons.checked()


def instance(number: int, mask: Any, *, ignore_flag: int = 0) -> dict[str, Any]:
    return dict(bbox=[number, 2, 24, 10.5], bbox_label=number, ignore_flag=ignore_flag, mask=mask)


def test_instances_come_back_image_by_image() -> None:
    first, second, _ = IMAGES
    table, polygons = filled((second, SQUARE, False), (first, RLE, True), (second, [*SQUARE, *OUTSIDE], False))
    assert table.remove_empty(polygons) == []
    found = pickle.loads(pickle.dumps(table.of_images(polygons)))
    assert {image_id: instances.unpack() for image_id, instances in found.items()} == {
        "b": [instance(1, RLE, ignore_flag=1)],
        7: [instance(0, SQUARE), instance(2, [*SQUARE, *OUTSIDE])],
        9: [],
    }


def test_what_covers_no_pixel_is_removed_and_named() -> None:
    image = IMAGES[1]
    kept, empty = (image, SQUARE, False), (image, OUTSIDE, False)
    table, polygons = filled(empty, kept, (image, OUTSIDE, True), (image, RLE, False), empty, (IMAGES[2], SQUARE, True))
    assert table.remove_empty(polygons) == [(0, False), (2, True), (4, False)]
    found = table.of_images(polygons)
    assert found[7].unpack() == [instance(1, SQUARE), instance(3, RLE)]
    assert found[9].unpack() == [instance(5, SQUARE, ignore_flag=1)]


def test_no_instance() -> None:
    table, polygons = filled()
    assert table.remove_empty(polygons) == []
    assert [found.unpack() for found in table.of_images(polygons).values()] == [[], [], []]
