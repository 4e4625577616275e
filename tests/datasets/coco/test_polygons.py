from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solo.datasets.coco.polygons import CheckedPolygons, PolygonTable
from solo.masks.segmentations import (
    FAR_POLYGON,
    MALFORMED,
    NAN_POLYGON,
    SHORT_POLYGON,
    SegmentationError,
    select_usable,
    unpack_segmentation,
)

TRIANGLE = [1.0, 2.0, 5.5, 2.0, 5.5, 8.0]


def table_of(*segmentations: Any) -> tuple[CheckedPolygons, list[Any]]:
    """The checked table, and what has become of each segmentation."""
    table = PolygonTable()
    taken = [table.extract_polygons(dict(segmentation=segmentation))["segmentation"] for segmentation in segmentations]
    return table.check(), taken


def outcome(polygons: CheckedPolygons, positions: Any) -> Any:
    """The polygons of an object that can be used, or why there are none."""
    if not isinstance(positions, range):
        return MALFORMED
    try:
        return unpack_segmentation(polygons.packed(select_usable(positions, polygons.problems)))
    except SegmentationError as problem:
        return problem.kind


def is_point(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(entry) in (int, float) for entry in value)


def oracle(segmentation: list[Any]) -> Any:
    """The same, number by number."""
    if segmentation and type(segmentation[0]) in (int, float):
        segmentation = [segmentation]
    if len(segmentation) > 2 and all(map(is_point, segmentation)):
        segmentation = [segmentation]
    segmentation = [
        [value for point in polygon for value in point]
        if isinstance(polygon, list) and polygon and all(map(is_point, polygon))
        else polygon
        for polygon in segmentation
    ]
    if not all(isinstance(polygon, list) and all(type(v) in (int, float) for v in polygon) for polygon in segmentation):
        return MALFORMED
    for polygon in segmentation:
        if any(math.isnan(v) for v in polygon if type(v) is float):
            return NAN_POLYGON
        if any(abs(v) > 100_000 for v in polygon):
            return FAR_POLYGON
    used = [polygon for polygon in segmentation if len(polygon) >= 6 and len(polygon) % 2 == 0]
    return used or SHORT_POLYGON


def test_indices_replace_polygons() -> None:
    polygons, taken = table_of([TRIANGLE], [TRIANGLE, [1, 1], TRIANGLE], TRIANGLE)
    assert taken == [range(0, 1), range(1, 4), range(4, 5)]
    assert polygons.problems == {2: SHORT_POLYGON}
    assert [list(select_usable(positions, polygons.problems)) for positions in taken] == [[0], [1, 3], [4]]
    assert unpack_segmentation(polygons.packed([1, 3])) == [TRIANGLE, TRIANGLE]


def test_extents_and_areas() -> None:
    polygons, _ = table_of([TRIANGLE, [7.0]], [[0, 0, 4, 0, 4, 3, 0, 3]])
    assert polygons.lowest[[0, 2]].tolist() == [[1, 2], [0, 0]]
    assert polygons.highest[[0, 2]].tolist() == [[5.5, 8], [4, 3]]
    assert polygons.areas[[0, 2]].tolist() == [13.5, 12]


POINTS = [[1, 2], [5.5, 2], [5.5, 8]]


@pytest.mark.parametrize("segmentation", [POINTS, [POINTS], [POINTS, TRIANGLE]])
def test_points_are_polygons(segmentation: Any) -> None:
    polygons, (indices,) = table_of(segmentation)
    assert unpack_segmentation(polygons.packed(select_usable(indices, polygons.problems)))[0] == TRIANGLE
    assert polygons.from_points == {0}


@pytest.mark.parametrize("segmentation", [[[1, 2], [5.5, 2]], [[[1, 2], [5.5, 2]]]])
def test_two_points_are_no_polygon(segmentation: Any) -> None:
    polygons, (indices,) = table_of(segmentation)
    with pytest.raises(SegmentationError, match=SHORT_POLYGON):
        select_usable(indices, polygons.problems)


@pytest.mark.parametrize(
    "segmentation",
    [
        "text",
        None,
        5,
        [[[1, 2, 3], [4, 5, 6], [7, 8, 9]]],
        [[POINTS]],
        [TRIANGLE, "text"],
        [[1, 2, True]],
        {"size": [1, 1]},
        [None],
    ],
)
def test_what_is_no_polygon_stays(segmentation: Any) -> None:
    record = dict(id=3, segmentation=segmentation)
    table = PolygonTable()
    assert table.extract_polygons(record) is record
    assert record == dict(id=3, segmentation=segmentation)
    assert table.extract_polygons(dict(id=3)) == dict(id=3)
    assert len(table.check().areas) == 0


def test_no_polygon() -> None:
    polygons, (positions,) = table_of([])
    assert not positions
    assert polygons.lowest.shape == (0, 2)


def test_more_polygons_than_are_measured_at_once() -> None:
    generator = np.random.default_rng(0)
    objects = [generator.uniform(-50, 50, 2 * count).tolist() for count in generator.integers(3, 8, 25_000)]
    polygons, _ = table_of(objects)
    points = [np.array(polygon).reshape(-1, 2) for polygon in objects]
    np.testing.assert_array_equal(polygons.lowest, [of_polygon.min(0) for of_polygon in points])
    np.testing.assert_array_equal(polygons.highest, [of_polygon.max(0) for of_polygon in points])
    x, y = zip(*(of_polygon.T for of_polygon in points), strict=True)
    areas = [abs(a @ np.roll(b, -1) - b @ np.roll(a, -1)) / 2 for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(polygons.areas, areas, rtol=0, atol=1e-9)
    assert unpack_segmentation(polygons.packed(range(25_000))) == objects


NUMBERS = st.one_of(
    st.floats(-200, 200),
    st.integers(-200, 200),
    st.sampled_from([math.nan, math.inf, -math.inf, 1e5, -1e5, 100_001, -1e9, 10**400, -(10**400), 1e-320, -0.0]),
)
POLYGONS = st.lists(st.one_of(st.floats(0, 99), NUMBERS), max_size=9)
ODD = st.sampled_from([None, True, "7", {}, [], [1, 2], [3.5, 4], [[1, 2]], [[1, 2], [3, 4], [5, 7]]])
SEGMENTATIONS = st.lists(st.one_of(POLYGONS, POLYGONS, st.lists(st.one_of(NUMBERS, ODD), max_size=8), ODD), max_size=4)


@given(st.lists(st.one_of(SEGMENTATIONS, POLYGONS), max_size=6))
def test_each_object_is_as_if_it_were_alone(segmentations: list[list[Any]]) -> None:
    polygons, taken = table_of(*segmentations)
    for segmentation, positions in zip(segmentations, taken, strict=True):
        assert outcome(polygons, positions) == oracle(segmentation)
