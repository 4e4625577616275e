"""Masks to polygons that hold holes and parts, and back, without a pixel lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from solo.datasets.formats.polygons import compare, join_parts, polygons_from_rle
from solo.datasets.formats.records import ConversionReport, ObjectRecord, encode_bitmap, to_rles
from solo.datasets.formats.writers import single_polygons

MASKS = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(lambda size: arrays(np.bool_, size))
RING_IN_RING = np.pad(np.pad(np.pad(np.ones((1, 1), np.bool_), 1), 1, constant_values=True), 1)
CORNERS = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]], np.bool_)


def record(segmentation: object, object_id: int = 1) -> ObjectRecord:
    return ObjectRecord(class_name="a", segmentation=segmentation, object_id=object_id)  # type: ignore[arg-type]


@given(mask=MASKS)
@example(mask=RING_IN_RING)
@example(mask=CORNERS)
@example(mask=~CORNERS)
@settings(max_examples=60, deadline=None)
def test_polygons_are_the_mask(mask: np.ndarray) -> None:
    height, width = mask.shape
    polygons = polygons_from_rle(encode_bitmap(mask))
    found = np.zeros(mask.shape, np.bool_)
    if polygons:
        rle = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
        found = coco_mask.decode(rle).astype(bool)
        joined = coco_mask.frPyObjects([join_parts(polygons)], height, width)[0]
        np.testing.assert_array_equal(coco_mask.decode(joined).astype(bool), mask)
    np.testing.assert_array_equal(found, mask)


def test_one_polygon_for_each_part_around_its_holes() -> None:
    assert len(polygons_from_rle(encode_bitmap(RING_IN_RING))) == 2
    assert len(polygons_from_rle(encode_bitmap(CORNERS))) == 5
    (polygon,) = polygons_from_rle(encode_bitmap(np.pad(np.ones((2, 2), np.bool_), ((1, 1), (3, 0)))))
    assert sorted(np.reshape(polygon, (-1, 2)).tolist()) == [[3, 1], [3, 3], [5, 1], [5, 3]]


@given(
    masks=st.lists(arrays(np.bool_, (7, 11)), min_size=1, max_size=4),
    points=st.lists(st.tuples(st.floats(-3, 14), st.floats(-3, 10)), min_size=3, max_size=8),
)
@settings(max_examples=50, deadline=None)
def test_single_polygons_are_compared_with_what_they_were(
    masks: list[np.ndarray], points: list[tuple[float, float]]
) -> None:
    """Of masks all pixels are kept; of a polygon that exceeds the image what is inside."""
    objects = [record(encode_bitmap(mask), number) for number, mask in enumerate(masks) if mask.any()]
    polygon = record([[value for point in points for value in point]], 9)
    size = dict(height=7, width=11)
    if to_rles([polygon], **size)[0] != encode_bitmap(np.zeros((7, 11), np.bool_)):
        objects.append(polygon)
    report = ConversionReport()
    written = single_polygons(objects, **size, report=report)
    assert compare(objects, written, **size) == [1.0] * len(objects)
    assert (report.compared, report.changed, report.lowest_iou) == (len(objects), [], 1.0)
    for each in written:
        (found,) = each.segmentation
        assert (np.reshape(found, (-1, 2)) >= 0).all()
        assert (np.reshape(found, (-1, 2)) <= (11, 7)).all()


def test_overlapping_parts_stay_one_area() -> None:
    """Joined as they are, the even-odd rule would cut out what two parts share."""
    parts = [[1, 1, 6, 1, 6, 6, 1, 6], [3, 3, 9, 3, 9, 5, 3, 5]]
    report = ConversionReport()
    written = single_polygons([record(parts)], height=8, width=12, report=report)
    assert to_rles(written, height=8, width=12) == to_rles([record(parts)], height=8, width=12)
    assert report.changed == []


def test_iou_of_a_change() -> None:
    full, half = np.ones((4, 4), np.bool_), np.tile([True, True, False, False], (4, 1))
    ious = compare([record(encode_bitmap(full))] * 2, [record(encode_bitmap(half)), record(encode_bitmap(full))],
                   height=4, width=4)  # fmt: skip
    assert ious == pytest.approx([0.5, 1.0])
