from __future__ import annotations

import random
from typing import Any

import cv2
import mmcv
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from pycocotools import mask as coco_mask

from solo.datasets import InstanceMasks
from solo.errors import DataError
from solo.masks.instance_masks import _map_nearest
from solo.masks.mask_windows import pack_windows, unpack_masks
from solo.masks.segmentations import pack_segmentation
from solo.masks.transformed_runs import areas_and_centers, downsample_windows
from solo.registry import TRANSFORMS
from tests.helpers.bitmaps import downsample_masks, mass_centers

SQUARE = [[2.0, 2.0, 10.0, 2.0, 10.0, 10.0, 2.0, 10.0]]


def to_bitmap(segmentation: Any, height: int, width: int) -> np.ndarray:
    """As mmdet's LoadAnnotations does."""
    if isinstance(segmentation, list):
        return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width)))
    if isinstance(segmentation["counts"], list):
        return coco_mask.decode(coco_mask.frPyObjects(segmentation, height, width))
    return coco_mask.decode(segmentation)


def both(segmentations: list[Any], height: int, width: int) -> tuple[InstanceMasks, BitmapMasks]:
    packed = list(map(pack_segmentation, segmentations))
    ours = InstanceMasks.from_segmentations(packed, height=height, width=width)
    return ours, BitmapMasks([to_bitmap(s, height, width) for s in segmentations], height, width)


STRIDES = (4, 8, 16)


def assert_same(ours: InstanceMasks, reference: BitmapMasks) -> None:
    """Pixels, areas, boxes and, above all, what training takes of them."""
    assert (ours.height, ours.width, len(ours)) == (reference.height, reference.width, len(reference))
    np.testing.assert_array_equal(ours.to_ndarray(), reference.masks)
    np.testing.assert_array_equal(ours.areas, reference.areas)
    assert torch.equal(ours.get_bboxes("hbox").tensor, reference.get_bboxes("hbox").tensor)
    bitmaps = torch.from_numpy(reference.masks.astype(bool))
    runs = ours.transformed_runs()
    _, centers = areas_and_centers(runs)
    np.testing.assert_array_equal(centers, mass_centers(bitmaps).numpy())
    assert centers.dtype == np.float32
    for stride in STRIDES:
        windows = downsample_windows(runs, height=ours.height, width=ours.width, stride=stride)
        size = -(-ours.height // stride), -(-ours.width // stride)
        masks = pack_windows(windows, size=size)
        assert torch.equal(unpack_masks([masks], size), downsample_masks(bitmaps, stride=stride))


# ------------------------------------------------------------------------------------------------------- properties
@st.composite
def segmentations(draw: st.DrawFn, height: int, width: int) -> Any:
    """Polygons that may cross themselves, lie outside or be tiny, and RLEs of both kinds."""
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    kind = draw(st.sampled_from(["polygon", "polygons", "tiny", "outside", "rle", "counts", "full", "empty"]))
    if kind in ("polygon", "polygons"):
        count = 1 if kind == "polygon" else 3
        return [(rng.uniform(-0.2, 1.2, (8, 2)) * (width, height)).ravel().tolist() for _ in range(count)]
    if kind in ("tiny", "outside"):
        corner = rng.uniform(0, 1, 2) * (width, height) + (3 * width if kind == "outside" else 0)
        return [(corner + 1.2 * np.array([[0, 0], [1, 0], [1, 1], [0, 1]])).ravel().tolist()]
    bitmap = {"full": np.ones, "empty": np.zeros}.get(kind, np.zeros)((height, width), np.uint8)
    if kind in ("rle", "counts"):
        bitmap = (rng.random((height, width)) < 0.4).astype(np.uint8)
        bitmap[:, : width // 3] = rng.random() < 0.5
    if kind == "counts":
        changes = np.flatnonzero(np.diff(bitmap.T.ravel())) + 1
        counts = np.diff([0, *changes, height * width]).tolist()
        return dict(size=[height, width], counts=[0, *counts] if bitmap[0, 0] else counts)
    encoded = coco_mask.encode(np.asfortranarray(bitmap))
    return dict(size=[height, width], counts=encoded["counts"].decode())


@st.composite
def steps(draw: st.DrawFn) -> Any:
    """A change of masks, as a function that works on both kinds."""
    kind = draw(st.sampled_from(["resize", "rescale", "float", "flip", "crop", "pad", "expand", "translate", "choose"]))
    a, b = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    if kind == "resize":
        return lambda m: m.resize((a, b))
    if kind == "rescale":
        return lambda m: m.rescale((max(a, 8), max(b, 8)) if min(m.height, m.width) > 8 else 1.5)
    if kind == "float":
        return lambda m: m.rescale(max(a / 40, 2 / min(m.height, m.width)))
    if kind == "flip":
        return lambda m: m.flip(["horizontal", "vertical", "diagonal"][a % 3])
    if kind == "crop":

        def crop(m):
            x, y = a % m.width, b % m.height
            return m.crop(np.array([x, y, min(x + b + 1, m.width), min(y + a + 1, m.height)]))

        return crop
    if kind == "pad":
        return lambda m: m.pad((m.height + a % 9, m.width + b % 9))
    if kind == "expand":
        return lambda m: m.expand(m.height + a % 9, m.width + b % 9, (a % 9) // 2, (b % 9) // 2)
    if kind == "translate":
        direction = ["horizontal", "vertical"][b % 2]
        return lambda m: m.translate((m.height + b % 5, m.width), a % 30 - 15, direction)
    return lambda m: m[np.arange(len(m))[a % 2 :: 1 + b % 2]]


@settings(max_examples=150)
@given(data=st.data(), height=st.integers(2, 40), width=st.integers(2, 40))
def test_any_chain_of_changes_equals_that_from_bitmaps(data: st.DataObject, height: int, width: int) -> None:
    objects = data.draw(st.lists(segmentations(height, width), max_size=4))
    ours, reference = both(objects, height, width)
    for step in data.draw(st.lists(steps(), max_size=5)):
        ours, reference = step(ours), step(reference)
        if reference.height * reference.width > 200_000:
            break
    assert_same(ours, reference)


SIDES = [1, 2, 3, 5, 7, 31, 64, 100, 333, 427, 480, 500, 612, 640, 799, 800, 1066, 1067, 1333]


@pytest.mark.parametrize("side", SIDES)
def test_nearest_pixel_is_that_of_opencv(side: int) -> None:
    """In both directions, and whatever lies across; the rule is floor(i * (1 / (new / old))) in float64."""
    rng = np.random.default_rng(side)
    for new in [*SIDES, *rng.integers(1, 1400, 12).tolist()]:
        bitmap = (rng.random((side, 3)) < 0.5).astype(np.uint8)
        masks = InstanceMasks.from_bitmaps(bitmap[None])
        resized = cv2.resize(bitmap, (5, new), interpolation=cv2.INTER_NEAREST)
        np.testing.assert_array_equal(masks.resize((new, 5)).to_ndarray()[0], resized)
        turned = InstanceMasks.from_bitmaps(bitmap.T[None]).resize((5, new)).to_ndarray()[0]
        np.testing.assert_array_equal(turned, resized.T)
        rows, columns = (np.minimum(np.arange(n) * (1 / (n / s)), s - 1).astype(int) for n, s in ((new, side), (5, 3)))
        np.testing.assert_array_equal(resized, bitmap[rows][:, columns])


@given(size=st.tuples(st.integers(1, 900), st.integers(1, 900)), scale=st.data())
def test_sizes_and_pixels_are_those_of_mmcv(size: tuple[int, int], scale: st.DataObject) -> None:
    factor = scale.draw(st.one_of(st.floats(0.05, 3), st.tuples(st.integers(16, 1500), st.integers(16, 1500))))
    masks = InstanceMasks.from_bitmaps(np.zeros((0, *size), np.uint8))
    width, height = mmcv.rescale_size(size[::-1], factor)
    if min(height, width) > 0:
        rescaled = masks.rescale(factor)
        assert (rescaled.height, rescaled.width) == (height, width)
        column = np.arange(size[0], dtype=np.uint16)[:, None]
        row = np.arange(height)
        sources = mmcv.imresize(column, (1, height), interpolation="nearest").ravel()
        edges = _map_nearest(size[0], height)
        np.testing.assert_array_equal(edges.searchsorted(row, side="right") - 1, sources)


def test_a_scale_that_is_not_positive() -> None:
    with pytest.raises(ValueError, match="scale must be positive, not 0"):
        InstanceMasks.from_bitmaps(np.zeros((1, 5, 5))).rescale(0)


# -------------------------------------------------------------------------------------------------- mmdet's transforms
def polygons(seed: int, height: int, width: int, count: int = 5) -> list[Any]:
    rng = np.random.default_rng(seed)
    shapes = []
    for _ in range(count):
        center, radii = rng.uniform(0, 1, 2) * (width, height), rng.uniform(2, 25, (12, 1))
        angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        shapes.append([(center + radii * np.stack([np.cos(angles), np.sin(angles)], axis=1)).ravel().tolist()])
    return shapes


def results_of(masks: Any, height: int, width: int) -> dict[str, Any]:
    count = len(masks)
    boxes = masks.get_bboxes("hbox")
    return dict(
        img=np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8),
        img_shape=(height, width),
        gt_bboxes=HorizontalBoxes(boxes.tensor),
        gt_bboxes_labels=np.arange(count),
        gt_ignore_flags=np.zeros(count, bool),
        gt_masks=masks,
    )


@pytest.mark.parametrize(
    "transforms",
    [
        [dict(type="mmdet.Resize", scale=(70, 60), keep_ratio=False), dict(type="mmdet.RandomFlip", prob=1.0)],
        [
            dict(
                type="RandomResize", scale=(70, 90), ratio_range=(0.1, 2.0), keep_ratio=True, resize_type="mmdet.Resize"
            ),
            dict(
                type="mmdet.RandomCrop",
                crop_type="absolute_range",
                crop_size=(40, 80),
                recompute_bbox=True,
                allow_negative_crop=True,
            ),
            dict(type="mmdet.FilterAnnotations", min_gt_bbox_wh=(1, 1), by_mask=True, min_gt_mask_area=5),
            dict(type="mmdet.Pad", size=(90, 90)),
        ],
        [
            dict(type="mmdet.Expand", mean=(1, 2, 3), prob=1.0),
            dict(type="mmdet.MinIoURandomCrop"),
            dict(type="mmdet.RandomFlip", prob=[0.3, 0.3, 0.3], direction=["horizontal", "vertical", "diagonal"]),
        ],
        [dict(type="mmdet.FixShapeResize", width=71, height=53, keep_ratio=True)],
        [dict(type="mmdet.TranslateX", prob=1.0), dict(type="mmdet.TranslateY", prob=1.0)],
        [
            dict(type="mmdet.Rotate", prob=1.0),
            dict(type="mmdet.ShearX", prob=1.0),
            dict(type="mmdet.RandomFlip", prob=0.5),
        ],
    ],
    ids=["resize-flip", "large-scale-jitter", "ssd", "fixed-shape", "translate", "rotate-shear"],
)
def test_transforms(transforms: list[dict[str, Any]]) -> None:
    height, width = 60, 80
    built = [TRANSFORMS.build(transform) for transform in transforms]
    for seed in range(25):
        outcomes = []
        for masks in both(polygons(seed, height, width), height, width):
            random.seed(seed)
            np.random.seed(seed)
            results: Any = results_of(masks, height, width)
            for transform in built:
                results = transform(results) if results is not None else None
            outcomes.append(results)
        ours, reference = outcomes
        assert (ours is None) == (reference is None)
        if ours is not None:
            assert_same(ours["gt_masks"], reference["gt_masks"])
            assert torch.equal(ours["gt_bboxes"].tensor, reference["gt_bboxes"].tensor)
            np.testing.assert_array_equal(ours["gt_bboxes_labels"], reference["gt_bboxes_labels"])
            np.testing.assert_array_equal(ours["img"], reference["img"])


@pytest.mark.parametrize("name", ["Mosaic", "MixUp"])
def test_transforms_of_several_images(name: str) -> None:
    transform = TRANSFORMS.build(
        dict(type=f"mmdet.{name}", img_scale=(64, 64), **({"prob": 1.0} if name == "Mosaic" else {}))
    )
    count = 3 if name == "Mosaic" else 1
    for seed in range(10):
        outcomes = []
        for kind in (0, 1):
            images = [
                results_of(both(polygons(i, 60, 80), 60, 80)[kind], 60, 80) for i in range(seed, seed + count + 1)
            ]
            random.seed(seed)
            np.random.seed(seed)
            outcomes.append(transform({**images[0], "mix_results": images[1:]}))
        ours, reference = outcomes
        assert_same(ours["gt_masks"], reference["gt_masks"])
        assert torch.equal(ours["gt_bboxes"].tensor, reference["gt_bboxes"].tensor)


# --------------------------------------------------------------------------------------------------------- the rest
def test_masks_of_several_images() -> None:
    one, one_peer = both(polygons(0, 30, 40), 30, 40)
    two, two_peer = both(polygons(1, 50, 20), 50, 20)
    ours = InstanceMasks.cat([one.resize((64, 64)), two.flip().resize((64, 64)), one[:0].resize((64, 64))])
    reference = BitmapMasks.cat([one_peer.resize((64, 64)), two_peer.flip().resize((64, 64))])
    order = np.array([7, 0, 3, 9, 1])
    assert_same(ours, reference)
    assert_same(ours[order].crop(np.array([5, 5, 60, 33])), reference[order].crop(np.array([5, 5, 60, 33])))


@pytest.mark.parametrize("index", [2, slice(1, 3), [0, 3], np.array([True, False, True, False]), np.array([], int)])
def test_selection(index: Any) -> None:
    ours, reference = both(polygons(0, 30, 40, count=4), 30, 40)
    assert_same(ours[index], BitmapMasks(reference.masks[index].reshape(-1, 30, 40), 30, 40))


def test_one_pixel_and_none() -> None:
    ours, reference = both([[[1.0, 1.0, 2.0, 1.0, 2.0, 2.0, 1.0, 2.0]], [[50.0, 50, 60, 50, 60, 60]]], 12, 12)
    assert ours.areas.tolist() == [1, 0]
    assert_same(ours, reference)
    assert_same(ours.crop(np.array([0, 0, 1, 12])), reference.crop(np.array([0, 0, 1, 12])))
    empty = InstanceMasks.from_segmentations([[]], height=12, width=12)
    assert empty.areas.tolist() == [0]
    nothing = InstanceMasks.from_segmentations([], height=12, width=12).resize((30, 6))
    assert (len(nothing), nothing.areas.shape, nothing.to_ndarray().shape) == (0, (0,), (0, 30, 6))


def test_mmdets_masks_are_taken() -> None:
    ours, reference = both([SQUARE, *polygons(0, 30, 40)], 30, 40)
    assert InstanceMasks.from_masks(ours) is ours
    assert_same(InstanceMasks.from_masks(reference), reference)
    given = PolygonMasks([[np.array(p) for p in s] for s in [SQUARE, *polygons(0, 30, 40)]], 30, 40)
    assert_same(InstanceMasks.from_masks(given), reference)
    assert_same(InstanceMasks.from_masks(BitmapMasks([], 30, 40)), BitmapMasks([], 30, 40))
    with pytest.raises(DataError, match="not ndarray"):
        InstanceMasks.from_masks(reference.masks)


def test_changes_that_are_no_index_maps() -> None:
    ours, reference = both(polygons(0, 30, 40), 30, 40)
    assert_same(ours.resize((50, 50), "bilinear"), reference.resize((50, 50), "bilinear"))
    assert_same(ours.pad((40, 50), pad_val=1), reference.pad((40, 50), pad_val=1))
    assert_same(ours.translate((30, 40), 2.5), reference.translate((30, 40), 2.5))
    assert_same(ours.flip().rotate((30, 40), 20.0), reference.flip().rotate((30, 40), 20.0))


def test_repr() -> None:
    ours, _ = both([SQUARE], 12, 12)
    assert repr(ours) == "InstanceMasks(num_masks=1, height=12, width=12)"


def test_wrong_uses() -> None:
    ours, _ = both([SQUARE], 12, 12)
    with pytest.raises(AttributeError, match=r"load with mmdet\.LoadAnnotations"):
        _ = ours.masks
    with pytest.raises(ValueError, match="not 'sideways'"):
        ours.flip("sideways")
    with pytest.raises(ValueError, match="one size"):
        InstanceMasks.cat([ours, ours.resize((5, 5))])
