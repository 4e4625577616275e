from __future__ import annotations

import pickle
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData

from solo.config import load_config
from solo.datasets import CocoInstances, PackSample
from solo.errors import DataError
from solo.masks.mask_windows import unpack_masks
from solo.registry import TRANSFORMS
from tests.helpers.bitmaps import downsample_masks, mass_centers
from tests.helpers.paths import CONFIGS as CONFIG_FILES

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
    assert instances.labels.dtype == np.int64
    assert instances.bboxes.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert instances.centers.tolist() == [[1.5, 1.5], [8.5, 5.5]]
    assert instances.centers.dtype == instances.bboxes.dtype == np.float32
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
        assert np.isfinite(instances.centers).all()
        assert ((instances.centers >= 0) & (instances.centers < 6)).all()


def test_nothing_goes_through_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tensor would be sent as a file of its own, which takes longer than everything else of a sample's objects."""

    def forbidden(*_: Any) -> None:
        raise AssertionError("a tensor was sent by reference")

    monkeypatch.setitem(ForkingPickler._extra_reducers, torch.Tensor, forbidden)
    sample = PackSample()(results(rectangles((0, 0, 4, 4))))["data_samples"]
    sent = pickle.loads(ForkingPickler.dumps(sample.gt_instances))
    assert sent.bboxes.tolist() == sample.gt_instances.bboxes.tolist()
    assert torch.equal(dense(sent), dense(sample.gt_instances))


# ------------------------------------------------------------------------------------------ against the full bitmaps
@pytest.mark.parametrize("axes", [(), (0,), (1,), (0, 1), (2,)])
@pytest.mark.parametrize("hole", [False, True])
def test_pixels_of_views(axes: tuple[int, ...], hole: bool) -> None:
    """Transforms flip and crop without a copy; whatever the strides, the pixels are those of the view."""
    image = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    image = np.flip(image[2:7, 1:9] if hole else image, axes)
    inputs = PackSample()(dict(img=image))["inputs"]
    np.testing.assert_array_equal(inputs.numpy(), image.transpose(2, 0, 1))


def test_coarse_masks_are_there_when_asked_for() -> None:
    given = results(rectangles((0, 0, 4, 4), (4, 2, 14, 10)))
    instances = PackSample(coarse_strides=(8, 16))(given)["data_samples"].gt_instances
    bitmaps = torch.from_numpy(given["gt_masks"].masks.astype(bool))
    for stride in (8, 16):
        masks = instances[f"masks_{stride}"]
        assert torch.equal(unpack_masks([masks], masks.size), downsample_masks(bitmaps, stride=stride))
    sent = pickle.loads(ForkingPickler.dumps(instances[[1]]))
    assert torch.equal(unpack_masks([sent.masks_8], (2, 2)), downsample_masks(bitmaps[1:], stride=8))
    assert set(PackSample()(given)["data_samples"].gt_instances.keys()) == {"labels", "bboxes", "centers", "masks"}
    assert "(8, 16)" in repr(PackSample(coarse_strides=[8, 16]))


@pytest.mark.parametrize("stride", [4, 2, 9])
def test_strides_that_are_not_coarse(stride: int) -> None:
    with pytest.raises(ValueError, match=rf"even numbers above 4, not \(8, {stride}\)"):
        PackSample(coarse_strides=(8, stride))


def test_masks_and_image_must_agree() -> None:
    given = results(rectangles((0, 0, 4, 4)))
    given["img"] = given["img"][:8]
    with pytest.raises(DataError, match=r"1 masks of 14 x 10 pixels .* for 1 boxes and an image of 14 x 8"):
        PackSample()(given)
    given = results(rectangles((0, 0, 4, 4), (0, 0, 5, 5)))
    given["gt_masks"] = given["gt_masks"][[0]]
    with pytest.raises(DataError, match=r"1 masks .* for 2 boxes"):
        PackSample()(given)


LARGE_SCALE_JITTER = [
    dict(type="RandomResize", scale=(256, 256), ratio_range=(0.1, 2.0), keep_ratio=True, resize_type="mmdet.Resize"),
    dict(
        type="mmdet.RandomCrop",
        crop_type="absolute",
        crop_size=(256, 256),
        recompute_bbox=True,
        allow_negative_crop=True,
    ),
    dict(type="mmdet.RandomFlip", prob=0.5),
    dict(type="mmdet.Pad", size=(256, 256), pad_val=dict(img=(114, 114, 114))),
]
CONFIGS = {
    name: load_config(CONFIG_FILES / f"{name}.py").train_pipeline[2:-1]
    for name in (
        "solov2/solov2_r50_fpn_1x_coco",
        "solov2/solov2_r50_fpn_ms-3x_coco",
        "solov2/solov2-light_r50_fpn_ms-3x_coco",
    )
} | {"large-scale jitter": LARGE_SCALE_JITTER}


@pytest.mark.parametrize("name", CONFIGS)
def test_samples_are_those_of_bitmaps(shared_data: Path, name: str) -> None:
    """Whole training pipelines on real images, with `LoadInstances` and with mmdet's bitmaps, from the same seeds."""
    load = dict(type="LoadInstances"), dict(type="mmdet.LoadAnnotations", with_bbox=True, with_mask=True)
    ours, reference = (
        CocoInstances(
            data_root=str(shared_data / "coco_mini"),
            ann_file="annotations/instances_train2017.json",
            data_prefix=dict(img="train2017/"),
            pipeline=[dict(type="LoadImage"), step, *CONFIGS[name], *last],
            indices=24,
        )
        for step, last in zip(load, ([dict(type="PackSample")], []), strict=True)
    )
    pickled = peer_pickled = 0
    for index in range(len(ours)):
        sample, expected = ours[index], reference[index]
        np.testing.assert_array_equal(sample["inputs"].numpy(), expected["img"].transpose(2, 0, 1))
        masks = torch.from_numpy(expected["gt_masks"].masks.astype(bool))
        kept = masks.flatten(1).any(dim=1) & ~torch.from_numpy(expected["gt_ignore_flags"])
        instances = sample["data_samples"].gt_instances
        np.testing.assert_array_equal(instances.labels, expected["gt_bboxes_labels"][kept])
        np.testing.assert_array_equal(instances.bboxes, expected["gt_bboxes"].numpy()[kept])
        np.testing.assert_array_equal(instances.centers, mass_centers(masks[kept]))
        assert torch.equal(dense(instances), downsample_masks(masks[kept]))
        assert sample["data_samples"].flip == expected["flip"]
        pickled += len(ForkingPickler.dumps(instances))
        peer_pickled += len(ForkingPickler.dumps(expected["gt_masks"]))
    assert pickled * 200 <= peer_pickled or name == "large-scale jitter"
