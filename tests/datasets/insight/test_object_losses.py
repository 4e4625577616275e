"""What a grid loses, on objects whose cells are counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from solo.datasets.insight.input_plan import InputPlan
from solo.datasets.insight.object_losses import (
    COLLIDED,
    FILTERED,
    KEPT,
    OUT_OF_RANGE,
    OVER_LIMIT,
    REASONS,
    VANISHED,
    Limits,
    find_losses,
)
from solo.datasets.insight.sized_objects import OrdinaryObjects, SizedObjects, resize_objects
from solo.datasets.insight.source import AnnotationSource
from solo.models.assigner import GridAssigner
from solo.models.grid import Grid
from tests.helpers.coco_files import annotation, content, write

LIMITS = Limits(min_area_factor=0.25, nms_pre=500, max_per_img=100, max_dets=100)  # 2 pixels at stride 8
WHOLE = InputPlan(scale=None)


def assigner() -> GridAssigner:
    """4 x 4 cells of 16 pixels in an input of 64 x 64."""
    return GridAssigner(grid=Grid(num_grids=[4], strides=[8], scale_ranges=[(1, 32)]), num_classes=1)


def squares(*objects: tuple[float, float, float, int]) -> SizedObjects:
    """Squares by centre x, y, side and area at stride 4."""
    x, y, side, areas = np.array(objects, np.float32).reshape(-1, 4).T
    boxes = np.stack([x - side / 2, y - side / 2, x + side / 2, y + side / 2], axis=1)
    return SizedObjects(boxes, np.stack([x, y], axis=1), areas.astype(np.int64), np.full(len(x), 0.72))


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        ([(24, 24, 8, 4)], [None]),
        ([(24, 24, 8, 4), (26, 26, 8, 4)], [COLLIDED, None]),  # one cell: the later object wins it
        ([(24, 24, 8, 4), (40, 24, 8, 4)], [None, None]),  # two cells
        ([(24, 24, 8, 0)], [VANISHED]),
        ([(24, 24, 8, 2), (40, 24, 8, 3)], [FILTERED, None]),  # more than 0.25 * 8 pixels are needed
        ([(32, 32, 40, 100)], [OUT_OF_RANGE]),
        ([(8, 8, 30, 100), (8, 8, 8, 4)], [COLLIDED, None]),  # its centre region of 6 pixels is within one cell
        ([(15, 8, 30, 100), (8, 8, 8, 4)], [None, None]),  # its centre region reaches the next cell
    ],
)
def test_reasons(objects: list[tuple[float, float, float, int]], expected: list[str | None]) -> None:
    losses = find_losses([((64, 64), squares(*objects))], plan=WHOLE, assigner=assigner(), limits=LIMITS)
    assert [REASONS[reason] if reason != KEPT else None for reason in losses.reasons] == expected


def test_images_do_not_share_cells() -> None:
    image = ((64, 64), squares((24, 24, 8, 4)))
    assert find_losses([image, image], plan=WHOLE, assigner=assigner(), limits=LIMITS).lost == 0


def test_limits_cut_the_smallest_objects_of_an_image() -> None:
    objects = squares((8, 8, 8, 4), (24, 8, 12, 9), (40, 8, 10, 6))
    limits = LIMITS._replace(max_dets=2)
    losses = find_losses([((64, 64), objects)], plan=WHOLE, assigner=assigner(), limits=limits)
    assert losses.reasons.tolist() == [REASONS.index(OVER_LIMIT), KEPT, KEPT]
    assert losses.share(OVER_LIMIT) == pytest.approx(1 / 3)


def test_each_tile_has_all_cells() -> None:
    """Of 128 x 128 pixels as a whole a cell has 32, in tiles of 64 it has 16."""
    image = ((128, 128), squares((8, 8, 8, 4), (24, 24, 8, 4)))
    whole = find_losses([image], plan=WHOLE, assigner=assigner(), limits=LIMITS)
    tiles = find_losses([image], plan=InputPlan(scale=None, tile=64), assigner=assigner(), limits=LIMITS)
    assert (whole.share(COLLIDED), tiles.share(COLLIDED)) == (0.5, 0)


def test_bound_of_ap() -> None:
    """An IoU of 0.72 reaches five of the ten thresholds, a lost object none."""
    objects = squares((8, 8, 8, 4), (24, 24, 8, 0))
    losses = find_losses([((64, 64), objects)], plan=WHOLE, assigner=assigner(), limits=LIMITS)
    assert losses.reachable_ap == pytest.approx(0.5 / 2)


def test_no_objects() -> None:
    losses = find_losses([((64, 64), squares())], plan=WHOLE, assigner=assigner(), limits=LIMITS)
    assert (losses.lost, losses.reachable_ap, losses.share(COLLIDED)) == (0, 0, 0)


def test_resized_objects(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """A square of 8 pixels on the lattice of stride 4 is held exactly, at half the size only by one pixel of three."""
    aligned = annotation(1, bbox=[8, 4, 8, 8], segmentation=[[8, 4, 16, 4, 16, 12, 8, 12]])
    source = AnnotationSource.open(write(tmp_path, content([aligned, annotation(2, iscrowd=1)])))
    (image,) = source.images()
    objects = OrdinaryObjects.from_annotated(image.annotated)
    same = resize_objects(objects, (16, 24))
    assert same.areas.tolist() == [4] and same.centers.tolist() == [[11.5, 7.5]]
    assert same.boxes.tolist() == [[8, 4, 16, 12]]
    double = resize_objects(objects, (32, 48))
    assert double.areas.tolist() == [16] and double.boxes.tolist() == [[16, 8, 32, 24]]
    fourfold = resize_objects(objects, (64, 96))
    assert fourfold.ious[0] == 1, "a pixel of the image for every pixel at stride 4"
    assert same.ious[0] <= double.ious[0] <= 1


def test_input_plan() -> None:
    plan = InputPlan(scale=(512, 512), tile=320)
    assert plan.resized(256, 128) == (512, 256)
    assert plan.input_size(256, 256) == (320, 320)
    assert plan.input_size(256, 128) == (320, 256)
    assert plan.num_tiles(256, 256) == 4
    assert plan.test_pixels(256, 256) == 4 * plan.train_pixels(256, 256) == 4 * 320**2
    whole = InputPlan(scale=(1333, 800))
    assert whole.resized(480, 640) == (800, 1067)
    assert (whole.input_size(480, 640), whole.num_tiles(480, 640)) == ((800, 1088), 1)
