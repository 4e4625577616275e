"""The crop: overlaps and centres by hand, a crop by hand, and what always holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks, PolygonMasks

from solo.datasets import InstanceMasks, RandomOverlapCrop
from solo.datasets.transforms.random_crop import holds_centers, overlaps
from solo.masks.segmentations import pack_segmentation
from solo.registry import TRANSFORMS

BOXES = np.array([[10, 10, 30, 30], [40, 0, 60, 20], [0, 40, 8, 48]], dtype=np.float32)


def sample(boxes: np.ndarray = BOXES, size: tuple[int, int] = (50, 64), **more: Any) -> dict[str, Any]:
    """An image whose pixels tell their place, and filled boxes as masks."""
    rows, columns = np.indices(size)
    masks = np.zeros((len(boxes), *size), dtype=np.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.astype(int), strict=True):
        mask[y1:y2, x1:x2] = 1
    return dict(
        img=np.stack([rows, columns, rows], axis=-1).astype(np.uint8),
        img_shape=size,
        gt_bboxes=HorizontalBoxes(boxes),
        gt_bboxes_labels=np.arange(len(boxes)),
        gt_masks=BitmapMasks(masks, *size),
        gt_ignore_flags=np.zeros(len(boxes), dtype=bool),
        **more,
    )


def test_overlaps_by_hand() -> None:
    """20 x 10 of 20 x 20 and 60 x 20; nothing; a touch."""
    window = np.array([10, 0, 70, 20])
    np.testing.assert_allclose(overlaps(window, BOXES), [200 / 1400, 400 / 1200, 0], rtol=1e-6)
    assert overlaps(np.array([30, 0, 40, 20]), BOXES).max() == 0


def test_centers_by_hand() -> None:
    """Centres (20, 20), (50, 10), (4, 44); the window's right and lower borders are outside."""
    assert holds_centers(np.array([0, 0, 64, 50]), BOXES).tolist() == [True, True, True]
    assert holds_centers(np.array([20, 0, 50, 21]), BOXES).tolist() == [True, False, False]
    assert holds_centers(np.array([0, 0, 20, 45]), BOXES).tolist() == [False, False, True]


@pytest.mark.parametrize("container", [BitmapMasks, InstanceMasks, PolygonMasks])
def test_a_crop_by_hand(container: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows 5 to 25, columns 15 to 55: the third object's centre is outside, the others' boxes are clipped."""
    crop = RandomOverlapCrop()
    monkeypatch.setattr(crop, "choose_window", lambda *_: np.array([15, 5, 55, 25]))
    before = sample()
    corners = [[np.array([x1, y1, x2, y1, x2, y2, x1, y2], dtype=float)] for x1, y1, x2, y2 in BOXES]
    if container is PolygonMasks:
        before["gt_masks"] = PolygonMasks(corners, 50, 64)
    elif container is InstanceMasks:
        before["gt_masks"] = InstanceMasks.from_segmentations(
            list(map(pack_segmentation, corners)), height=50, width=64
        )
    results = crop(before)
    assert results["img"].shape == (20, 40, 3) and results["img_shape"] == (20, 40)
    assert results["img"][0, 0].tolist() == [5, 15, 5]
    assert results["gt_bboxes"].tensor.tolist() == [[0, 5, 15, 20], [25, 0, 40, 15]]
    assert results["gt_bboxes_labels"].tolist() == [0, 1]
    assert results["gt_ignore_flags"].shape == (2,)
    masks = results["gt_masks"].to_ndarray()
    assert masks.shape == (2, 20, 40)
    expected = np.zeros((2, 20, 40), dtype=np.uint8)
    expected[0, 5:20, 0:15] = expected[1, 0:15, 25:40] = 1
    np.testing.assert_array_equal(masks, expected)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.tuples(st.integers(2, 40), st.integers(2, 40)), count=st.integers(1, 5))
def test_runs_are_cropped_as_bitmaps(seed: int, size: tuple[int, int], count: int) -> None:
    """The same random numbers, masks of any outline: which objects stay and every pixel of theirs."""
    rng = np.random.default_rng(seed)
    masks = (rng.random((count, *size)) < 0.4).astype(np.uint8)
    masks[:, size[0] // 2, size[1] // 2] = 1
    bitmaps = BitmapMasks(masks, *size)
    boxes = bitmaps.get_bboxes("hbox").tensor.numpy()
    found = []
    for container in (bitmaps, InstanceMasks.from_masks(bitmaps)):
        np.random.seed(seed % 2**32)
        found.append(RandomOverlapCrop()({**sample(boxes, size), "gt_masks": container}))
    cropped_bitmaps, cropped_runs = found
    np.testing.assert_array_equal(cropped_runs["gt_masks"].to_ndarray(), cropped_bitmaps["gt_masks"].to_ndarray())
    assert cropped_runs["gt_bboxes"].tensor.tolist() == cropped_bitmaps["gt_bboxes"].tensor.tolist()
    np.testing.assert_array_equal(cropped_runs["img"], cropped_bitmaps["img"])


def test_an_image_of_nothing_or_of_crowds_stays() -> None:
    np.random.seed(0)
    empty, crowds = sample(np.zeros((0, 4), dtype=np.float32)), sample()
    crowds["gt_ignore_flags"][:] = True
    for results in (empty, crowds):
        for _ in range(20):
            assert RandomOverlapCrop()(dict(results))["img"] is results["img"]


def test_impossible_demands_leave_the_image() -> None:
    tiny = sample(np.array([[30, 30, 31, 31]], dtype=np.float32))
    assert RandomOverlapCrop(thresholds=(0.9,), num_attempts=5)(tiny)["img"].shape == (50, 64, 3)


def test_one_choice_in_seven_is_no_crop() -> None:
    np.random.seed(0)
    crop = TRANSFORMS.build(dict(type="RandomOverlapCrop"))
    boxes = np.array([[2, 2, 62, 48]], dtype=np.float32)
    unchanged = sum(crop.choose_window(boxes, (50, 64)) is None for _ in range(700))
    assert 70 < unchanged < 140


def test_windows_have_the_sampled_area_and_both_forms() -> None:
    """A scale of one half: a quarter of the image, up to twice as wide, or as high, as the image's form."""
    np.random.seed(0)
    height, width = 400, 600
    crop = RandomOverlapCrop(thresholds=(0.0,), scaling=(0.5, 0.5))
    windows = np.array([crop._sample_window((height, width)) for _ in range(200)])
    sides = (windows[:, 2:] - windows[:, :2]) / [width, height]
    np.testing.assert_allclose(sides.prod(axis=1), 0.25, rtol=0.02)
    forms = sides[:, 0] / sides[:, 1]
    assert 0.48 < forms.min() < 0.6 and 1.8 < forms.max() < 2.05
    assert (windows[:, :2] >= 0).all() and (windows[:, 2:] <= [width, height]).all()
    assert windows[:, 0].max() > width / 3 and windows[:, 1].max() > height / 3


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    count=st.integers(1, 4),
)
def test_what_always_holds(seed: int, size: tuple[int, int], count: int) -> None:
    np.random.seed(seed)
    height, width = size
    starts = np.random.rand(count, 2) * [width, height] * 0.8
    boxes = np.concatenate([starts, np.minimum(starts + 1 + np.random.rand(count, 2) * 20, [width, height])], axis=1)
    results = RandomOverlapCrop()(sample(boxes.astype(np.float32), size))
    new_height, new_width = results["img"].shape[:2]
    kept = results["gt_bboxes"].tensor.numpy()
    assert 1 <= new_height <= height and 1 <= new_width <= width
    assert len(kept) == len(results["gt_masks"]) == len(results["gt_bboxes_labels"]) == len(results["gt_ignore_flags"])
    assert len(kept) >= 1
    assert results["gt_masks"].masks.shape[1:] == (new_height, new_width)
    assert (kept >= 0).all() and (kept[:, 2:] <= [new_width, new_height]).all()
    # Sides at least 0.3 * sqrt(0.5) of the image's, but for the rounding to whole pixels.
    assert new_height > 0.2 * height - 1 and new_width > 0.2 * width - 1


@pytest.mark.parametrize(
    "options", [dict(scaling=(0.5, 1.5)), dict(scaling=(0, 1)), dict(aspect_ratio=(1.5, 2)), dict(num_attempts=0)]
)
def test_impossible_options(options: Any) -> None:
    with pytest.raises(ValueError, match="scaling must be"):
        RandomOverlapCrop(**options)
