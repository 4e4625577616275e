from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData

from solo.datasets import PackSample
from solo.ops import unpack_masks
from solo.registry import TRANSFORMS

HEIGHT, WIDTH = 10, 14


def results(masks: np.ndarray, *, ignored: list[bool] | None = None, wrap: bool = True) -> dict[str, Any]:
    count = len(masks)
    boxes = np.arange(4 * count, dtype=np.float32).reshape(count, 4)
    return dict(
        img=np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8),
        gt_bboxes=HorizontalBoxes(boxes) if wrap else boxes,
        gt_bboxes_labels=np.arange(count),
        gt_masks=BitmapMasks(masks, HEIGHT, WIDTH),
        gt_ignore_flags=np.array(ignored or [False] * count, dtype=bool),
    )


def dense(instances: InstanceData) -> torch.Tensor:
    return unpack_masks([instances.masks], instances.masks.size)


def rectangles(*rectangles: tuple[int, int, int, int]) -> np.ndarray:
    masks = np.zeros((len(rectangles), HEIGHT, WIDTH), np.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, rectangles, strict=True):
        mask[y1:y2, x1:x2] = 1
    return masks


@pytest.mark.parametrize("wrap", [True, False])
def test_contract(wrap: bool) -> None:
    given = results(rectangles((0, 0, 4, 4), (4, 2, 14, 10)), wrap=wrap)
    packed = PackSample()(given)
    assert packed["inputs"].dtype == torch.uint8
    np.testing.assert_array_equal(packed["inputs"].numpy(), given["img"].transpose(2, 0, 1))
    instances = packed["data_samples"].gt_instances
    assert instances.labels.tolist() == [0, 1]
    assert instances.labels.dtype == torch.int64
    assert instances.bboxes.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert instances.centers.tolist() == [[1.5, 1.5], [8.5, 5.5]]
    assert instances.centers.dtype == instances.bboxes.dtype == torch.float32
    # Row 2 alone of rows 1, 2 is set, and row 9 of 9, 10: half of the middle. In the last column's corners a quarter.
    assert dense(instances).int().tolist() == [
        [[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
        [[0, 1, 1, 0], [0, 1, 1, 1], [0, 1, 1, 0]],
    ]


def test_crowds_and_objects_without_a_pixel_are_left_out() -> None:
    masks = rectangles((0, 0, 4, 4), (0, 0, 0, 0), (4, 4, 8, 8), (8, 8, 9, 9))
    instances = PackSample()(results(masks, ignored=[True, False, False, False]))["data_samples"].gt_instances
    assert instances.labels.tolist() == [2, 3]
    assert instances.centers.tolist() == [[5.5, 5.5], [8, 8]]
    assert dense(instances)[1].sum() == 0  # one pixel is too small for stride 4, but it is an object


@pytest.mark.parametrize("masks", [rectangles(), rectangles((0, 0, 0, 0))])
def test_nothing_left(masks: np.ndarray) -> None:
    instances = PackSample()(results(masks))["data_samples"].gt_instances
    assert [tuple(instances[key].shape) for key in ("labels", "bboxes", "centers", "masks")] == [
        (0,),
        (0, 4),
        (0, 2),
        (0, 3, 4),
    ]
    assert dense(instances).shape == (0, 3, 4)


def test_metainfo_of_an_untouched_image() -> None:
    sample = PackSample()(dict(img=np.zeros((HEIGHT, WIDTH, 3), np.uint8)))["data_samples"]
    assert "gt_instances" not in sample
    assert sample.metainfo == dict(
        img_id=None,
        img_path=None,
        ori_shape=(HEIGHT, WIDTH),
        img_shape=(HEIGHT, WIDTH),
        scale_factor=(1.0, 1.0),
        flip=False,
        flip_direction=None,
    )


def test_after_a_crop() -> None:
    crop = TRANSFORMS.build(dict(type="mmdet.RandomCrop", crop_size=(6, 6), allow_negative_crop=True))
    masks = rectangles((0, 0, 3, 3), (9, 0, 14, 10), (2, 6, 12, 9))
    for seed in range(20):
        np.random.seed(seed)
        given = results(masks)
        given["gt_bboxes"] = HorizontalBoxes(np.array([[0, 0, 3, 3], [9, 0, 14, 10], [2, 6, 12, 9]], np.float32))
        sample = PackSample()(crop(given))["data_samples"]
        instances = sample.gt_instances
        assert sample.img_shape == (6, 6)
        assert instances.masks.shape[1:] == (2, 2)
        assert torch.isfinite(instances.centers).all()
        assert ((instances.centers >= 0) & (instances.centers < 6)).all()
