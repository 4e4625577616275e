"""Pictures, checked pixel by pixel where it matters."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from solo.errors import printable
from solo.inference.visualization import draw_instances, instance_color, legible_magnification
from tests.helpers.limits import run_limited

HEIGHT, WIDTH = 80, 120
GRAY = 100


def blank() -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), GRAY, np.uint8)


def rectangles(*boxes: tuple[int, int, int, int], scores: list[float] | None = None) -> InstanceData:
    """Boxes as x1 y1 x2 y2."""
    masks = torch.zeros(len(boxes), HEIGHT, WIDTH, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[y1:y2, x1:x2] = True
    return InstanceData(
        labels=torch.zeros(len(boxes), dtype=torch.int64),
        scores=torch.tensor(scores if scores is not None else [0.9] * len(boxes)),
        masks=masks,
        bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
    )


def draw(instances: InstanceData, **options: Any) -> np.ndarray:
    return draw_instances(blank(), instances, ("thing",), **{"draw_labels": False, **options})


def test_fill_blends_the_color_and_leaves_the_rest() -> None:
    picture = draw(rectangles((10, 10, 50, 50)), alpha=0.5)
    expected = np.round(GRAY * 0.5 + np.array(instance_color(0)) * 0.5)
    np.testing.assert_array_equal(picture[30, 30], expected)
    assert (picture[55:] == GRAY).all()
    assert (picture[:, 55:] == GRAY).all()


def test_contour_has_the_full_color() -> None:
    picture = draw(rectangles((10, 10, 50, 50)))
    np.testing.assert_array_equal(picture[10, 30], instance_color(0))


@pytest.mark.parametrize("small_first", [True, False])
def test_smaller_object_lies_on_top(small_first: bool) -> None:
    small, large = (30, 30, 40, 40), (5, 5, 75, 75)
    instances = rectangles(*((small, large) if small_first else (large, small)))
    picture = draw(instances, alpha=1.0)
    np.testing.assert_array_equal(picture[35, 35], instance_color(0 if small_first else 1))


def test_low_scores_are_left_out() -> None:
    picture = draw(rectangles((10, 10, 50, 50), scores=[0.29]))
    assert (picture == GRAY).all()
    assert (draw(rectangles((10, 10, 50, 50), scores=[0.29]), score_thr=0.2) != GRAY).any()


def test_ground_truth_needs_no_scores() -> None:
    instances = rectangles((10, 10, 50, 50))
    del instances.scores
    assert (draw(instances, draw_labels=True) != GRAY).any()


def test_label_stays_inside_the_image() -> None:
    for box in ((0, 0, 3, 3), (WIDTH - 3, HEIGHT - 3, WIDTH, HEIGHT)):
        plain, labeled = draw(rectangles(box)), draw(rectangles(box), draw_labels=True)
        assert (plain != labeled).any(2).sum() > 100


def test_one_pixel_image() -> None:
    instances = InstanceData(
        labels=torch.zeros(1, dtype=torch.int64), scores=torch.ones(1), masks=torch.ones(1, 1, 1, dtype=torch.bool)
    )
    assert draw_instances(np.zeros((1, 1, 3), np.uint8), instances, ("thing",)).shape == (1, 1, 3)


def test_boxes_on_demand() -> None:
    instances = rectangles((10, 10, 50, 50))
    instances.masks[0, 11:, 11:] = False
    instances.masks[0, 20, 20] = True
    picture = draw(instances, draw_boxes=True)
    np.testing.assert_array_equal(picture[49, 30], instance_color(0))


def test_nothing_to_draw_returns_a_copy() -> None:
    image = blank()
    picture = draw_instances(image, rectangles(), ("thing",))
    assert picture is not image
    np.testing.assert_array_equal(picture, image)


def test_empty_mask_is_skipped() -> None:
    assert (draw(rectangles((10, 10, 10, 10)), draw_labels=True, draw_boxes=True) == GRAY).all()


def test_input_stays_as_it_is() -> None:
    image = blank()
    draw_instances(image, rectangles((10, 10, 50, 50)), ("thing",))
    assert (image == GRAY).all()


def test_gray_image() -> None:
    picture = draw_instances(blank()[..., 0], rectangles((10, 10, 50, 50)), ("thing",))
    assert picture.shape == (HEIGHT, WIDTH, 3)


def test_colors_are_distinct_and_stable() -> None:
    colors = np.array([instance_color(index) for index in range(24)], dtype=float)
    distances = np.linalg.norm(colors[:, None] - colors[None], axis=2) + 1e3 * np.eye(24)
    assert distances.min() > 15
    assert instance_color(3) == instance_color(3)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((HEIGHT, WIDTH, 3), np.float32), "uint8.*float32"),
        (np.zeros((HEIGHT, WIDTH, 4), np.uint8), r"\(H, W, 3\).*4"),
        ("image.png", "str"),
        (np.zeros((HEIGHT + 1, WIDTH, 3), np.uint8), "masks must have shape"),
    ],
)
def test_wrong_image(image: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_instances(image, rectangles((10, 10, 50, 50)), ("thing",))


def test_magnified_picture_shows_the_same() -> None:
    plain, large = draw(rectangles((10, 10, 50, 50))), draw(rectangles((10, 10, 50, 50)), magnify=3, draw_boxes=True)
    assert large.shape == (3 * HEIGHT, 3 * WIDTH, 3)
    np.testing.assert_array_equal(large[90, 90], plain[30, 30])
    assert (large[152:] == GRAY).all()
    with pytest.raises(ValueError, match="magnify"):
        draw(rectangles(), magnify=0)


@pytest.mark.parametrize(("size", "expected"), [((160, 160), 2), ((128, 500), 3), ((8, 8), 4), ((600, 321), 1)])
def test_legible_magnification(size: tuple[int, int], expected: int) -> None:
    assert legible_magnification(*size) == expected


def test_label_does_not_hide_a_small_object() -> None:
    box = (50, 60, 60, 70)
    plain, labeled = draw(rectangles(box)), draw(rectangles(box), draw_labels=True)
    np.testing.assert_array_equal(plain[60:70, 50:60], labeled[60:70, 50:60])
    assert (plain[:60] != labeled[:60]).any()


def test_wrong_masks() -> None:
    instances = rectangles((10, 10, 50, 50))
    instances.masks = instances.masks.float()
    with pytest.raises(ValueError, match=r"bool.*float32"):
        draw(instances)


def test_label_without_a_name() -> None:
    with pytest.raises(ValueError, match="0 class names"):
        draw_instances(blank(), rectangles((10, 10, 50, 50)), ())


def test_boxes_grow_with_the_picture() -> None:
    """A box apart from its mask: its corners at three times their places, pixels of the color all along its sides."""
    instances = rectangles((10, 10, 20, 20))
    instances.bboxes = torch.tensor([[30.0, 20.0, 60.0, 50.0]])
    picture = draw(instances, magnify=3, draw_boxes=True)
    color = np.array(instance_color(0))
    for side in (picture[60, 90:180], picture[149, 90:180], picture[60:150, 90], picture[60:150, 179]):
        assert (side == color).all()
    assert (picture[70:140, 100:170] == GRAY).all()


@pytest.mark.parametrize("name", ["\udc80", "a\ud800b", "\x1b[2J", "a\nb", "日本"])
def test_class_name_that_cannot_be_shown(name: str) -> None:
    instances = rectangles((10, 10, 110, 70))
    outcome = run_limited(lambda: str(draw_instances(blank(), instances, (name,), draw_labels=True).shape))
    assert outcome == str((HEIGHT, WIDTH, 3))
    drawn, shown = (draw_instances(blank(), instances, (text,)) for text in (name, printable(name)))
    assert np.array_equal(drawn, shown), "control characters are escaped"


def draw_with_whole_masks(image: np.ndarray, masks: np.ndarray, *, magnify: int, alpha: float = 0.45) -> np.ndarray:
    """An oracle for fills and contours: every mask in the size of the whole image, by descending area."""
    canvas = cv2.resize(image, None, fx=magnify, fy=magnify, interpolation=cv2.INTER_LINEAR)
    thickness = max(1, round(min(canvas.shape[:2]) / 400))
    for index in np.argsort(-masks.sum(axis=(1, 2)), kind="stable"):
        mask = masks[index].repeat(magnify, axis=0).repeat(magnify, axis=1)
        canvas[mask] = np.round(canvas[mask] * (1 - alpha) + np.array(instance_color(index)) * alpha)
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(canvas, contours, -1, instance_color(index), thickness)
    return canvas


@pytest.mark.parametrize("magnify", [1, 3])
def test_windows_of_masks_draw_what_whole_masks_do(magnify: int) -> None:
    """Blobs with parts and holes, some of them across the borders of the image."""
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    masks = np.array([cv2.GaussianBlur(random.random((HEIGHT, WIDTH)), (0, 0), 4) > 0.53 for _ in range(8)])
    for mask in masks:
        left, top = random.integers(-30, (WIDTH - 30, HEIGHT - 30))
        kept = np.zeros_like(mask)
        kept[max(top, 0) : top + 60, max(left, 0) : left + 60] = True
        mask &= kept
    instances = InstanceData(labels=torch.zeros(8, dtype=torch.int64), masks=torch.from_numpy(masks))
    drawn = draw_instances(image, instances, ("thing",), draw_labels=False, magnify=magnify)
    np.testing.assert_array_equal(drawn, draw_with_whole_masks(image, masks, magnify=magnify))


def test_label_lies_on_the_centre_of_the_mask() -> None:
    """A triangle: its centre of mass is not that of its box, and the label is drawn around it."""
    large = np.zeros((400, 600), bool)
    large[np.tri(300, 300, dtype=bool).nonzero()] = True
    instances = InstanceData(labels=torch.zeros(1, dtype=torch.int64), masks=torch.from_numpy(large[None]))
    image = np.full((400, 600, 3), GRAY, np.uint8)
    plain = draw_instances(image, instances, ("thing",), draw_labels=False)
    rows, columns = (plain != draw_instances(image, instances, ("thing",))).any(axis=2).nonzero()
    rows_of_mask, columns_of_mask = large.nonzero()
    assert abs((rows.min() + rows.max()) / 2 - rows_of_mask.mean()) < 2
    assert abs((columns.min() + columns.max()) / 2 - columns_of_mask.mean()) < 2
