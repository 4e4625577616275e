"""Every pixel is that of pycocotools, whose C code is the reference of all of COCO."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from solo.masks.polygon_runs import runs_from_polygons
from tests.helpers.column_runs import pack, rasterise

Objects = list[list[list[float]]]


def expected(objects: Objects, height: int, width: int) -> np.ndarray:
    bitmaps = [coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(o, height, width))) for o in objects if o]
    rasterised = iter(bitmaps)
    return np.array([next(rasterised) if o else np.zeros((height, width)) for o in objects]).reshape(-1, height, width)


def assert_exact(objects: Objects, height: int, width: int) -> None:
    runs = runs_from_polygons(list(map(pack, objects)), height=height, width=width)
    np.testing.assert_array_equal(rasterise(runs), expected(objects, height, width))


KINDS = ["any", "whole", "half", "tenth", "fifth", "thin", "repeated", "outside", "far", "huge"]


@st.composite
def polygons(draw: st.DrawFn, height: int, width: int) -> list[float]:
    """They cross themselves and reach over the image; their points lie where rounding decides."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    num_points = draw(st.integers(3, 12))
    points = rng.uniform(-0.3, 1.3, (num_points, 2)) * (width, height)
    kind = draw(st.sampled_from(KINDS))
    if kind in ("whole", "half", "tenth", "fifth"):
        parts = dict(whole=1, half=2, tenth=10, fifth=5)[kind]
        points = np.round(points * parts) / parts
    elif kind == "thin":
        points[:, rng.integers(2)] = points[0, 0] + rng.uniform(-1, 1, num_points)
    elif kind == "repeated":
        points = points[rng.integers(0, num_points, num_points)]
    elif kind in ("outside", "far", "huge"):
        points = points * dict(outside=3, far=100, huge=1000)[kind] - draw(st.sampled_from([0, 1, 50])) * width
    return points.ravel().tolist()


@settings(max_examples=400)
@given(data=st.data(), height=st.integers(1, 60), width=st.integers(1, 60))
def test_any_polygons(data: st.DataObject, height: int, width: int) -> None:
    """Several of an object overlap; some objects have none."""
    objects = st.lists(st.lists(polygons(height, width), max_size=4), max_size=4)
    assert_exact(data.draw(objects), height, width)


@given(
    points=st.lists(st.tuples(st.integers(-60, 120), st.integers(-60, 120)), min_size=3, max_size=6),
    parts=st.sampled_from([1, 2, 4, 5, 10, 20]),
)
def test_points_on_the_fine_grid_and_between(points: list[tuple[int, int]], parts: int) -> None:
    """Edges between them meet the middles of columns at whole and half numbers, where rounding decides."""
    assert_exact([[[coordinate / parts for point in points for coordinate in point]]], 23, 17)


def test_long_edges() -> None:
    """Across images of thousands of pixels, from far outside and at every slope."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        points = rng.uniform(-100_000, 100_000, (rng.integers(3, 8), 2))
        points[rng.random(len(points)) < 0.5] %= 3000
        assert_exact([[points.ravel().tolist()], [np.round(points).ravel().tolist()]], 700, 900)


def test_by_hand() -> None:
    """A square from pixel (2, 1) to (4, 3), a triangle without a pixel, and nothing."""
    square = [2.0, 1.0, 5.0, 1.0, 5.0, 4.0, 2.0, 4.0]
    runs = runs_from_polygons([pack([square]), pack([[0.0, 0.0, 0.2, 0.0, 0.0, 0.2]]), []], height=6, width=8)
    assert (runs.num_masks, runs.mask.tolist(), runs.column.tolist()) == (3, [0, 0, 0], [2, 3, 4])
    assert runs.rows.tolist() == [[1, 1, 1], [4, 4, 4]]
    assert runs_from_polygons([], height=6, width=8).num_masks == 0


def test_real_annotations(shared_data: Path) -> None:
    content = json.loads((shared_data / "coco_mini/annotations/instances_train2017.json").read_text())
    of_image: dict[int, Objects] = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        if isinstance(annotation["segmentation"], list):
            of_image[annotation["image_id"]].append([p for p in annotation["segmentation"] if len(p) >= 6])
    for image in content["images"]:
        assert_exact(of_image[image["id"]], image["height"], image["width"])
