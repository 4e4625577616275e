from __future__ import annotations

import random

import numpy as np
from pycocotools import mask as coco_mask

from solo.datasets.coco import polygon_pixels
from solo.datasets.coco.polygon_table import PolygonTable

HEIGHT, WIDTH = 24, 32


def without_pixels(objects: list[list[list[float]]], sizes: np.ndarray) -> list[int]:
    """The indices of objects given by their polygons."""
    table = PolygonTable()
    positions = [table.take_from(dict(segmentation=polygons))["segmentation"] for polygons in objects]
    return polygon_pixels.without_pixels(table.checked(), positions, sizes)


def have_pixels(polygons: list[list[float]]) -> bool:
    """The oracle: draw them."""
    return bool(coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, HEIGHT, WIDTH))).any())


def drawn_polygon(draw: random.Random) -> list[float]:
    """Small ones, thin ones and far ones, at whole and at broken places."""
    x, y = draw.uniform(-8, WIDTH + 8), draw.uniform(-8, HEIGHT + 8)
    reach_x, reach_y = draw.choice([0.2, 1, 3, 20]), draw.choice([0, 0.2, 1, 3, 20])
    points = draw.randrange(3, 8)
    found = [
        value + draw.uniform(-reach, reach) for _ in range(points) for value, reach in ((x, reach_x), (y, reach_y))
    ]
    return [float(round(value)) for value in found] if draw.random() < 0.3 else found


def test_equals_drawing_all() -> None:
    draw = random.Random(0)
    objects = [[drawn_polygon(draw) for _ in range(draw.randrange(1, 3))] for _ in range(6000)]
    expected = [position for position, polygons in enumerate(objects) if not have_pixels(polygons)]
    sizes = np.tile([HEIGHT, WIDTH], (len(objects), 1))
    assert without_pixels(objects, sizes) == expected
    assert 500 < len(expected) < 5500


def test_nothing() -> None:
    assert without_pixels([], np.zeros((0, 2), np.int64)) == []


def test_sizes_are_those_of_each_image() -> None:
    square = [[10.0, 10.0, 20.0, 10.0, 20.0, 20.0, 10.0, 20.0]]
    sizes = np.array([[24, 32], [8, 32], [24, 8], [9, 9]])
    assert without_pixels([square] * 4, sizes) == [1, 2, 3]
