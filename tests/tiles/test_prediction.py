"""Objects of known scenes come out of their tiles whole and once."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from solo.masks.rle import decode_masks, encode_masks
from solo.tiles import Objects, TileBatch, Tiles, predict_by_tiles
from solo.tiles.overlaps import TileObjects
from tests.tiles.scenes import Masks, NumberedPixels, predict_scene, rectangle, true_masks


def assert_same(objects: Objects, masks: Masks) -> None:
    """The objects are those of the scene, whatever their order, to the pixel."""
    expected = sorted(rle["counts"] for rle in encode_masks(masks))
    assert sorted(rle["counts"] for rle in objects.rles) == expected
    for rle, box in zip(objects.rles, objects.boxes.tolist(), strict=True):
        rows, columns = decode_masks([rle], size=masks.shape[1:])[0].nonzero()
        assert box == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize(
    ("corners", "num_tiles"),
    [
        (dict(x1=10, y1=10, x2=30, y2=40), 1),
        (dict(x1=40, y1=10, x2=110, y2=40), 2),
        (dict(x1=40, y1=45, x2=110, y2=120), 4),
        (dict(x1=10, y1=20, x2=150, y2=140), 9),
    ],
)
@pytest.mark.parametrize("overlap", [0, 0.05, 0.25, 0.6])
def test_an_object_across_tiles_comes_out_whole_and_once(
    corners: dict[str, int], num_tiles: int, overlap: float
) -> None:
    mask = rectangle(160, 160, **corners)
    predict = true_masks(mask[None], [0])
    tiles = Tiles(size=64, overlap=overlap)
    seen = []

    def counting(batch: TileBatch) -> list[TileObjects]:
        found = predict(batch)
        seen.extend(len(each.labels) for each in found)
        return found

    (objects,) = predict_by_tiles([NumberedPixels(160, 160)], tiles=tiles, predict=counting)
    assert sum(seen) >= num_tiles
    assert_same(objects, mask[None])


def test_a_ring_that_leaves_and_enters_tiles_again_is_whole() -> None:
    mask = np.zeros((200, 200), np.uint8)
    cv2.circle(mask, (100, 100), 80, 1, 12)
    assert_same(predict_scene(mask[None].astype(bool), Tiles(size=128, overlap=0.4)), mask[None].astype(bool))


@pytest.mark.parametrize("overlap", [0, 0.1, 0.3])
def test_touching_objects_stay_separate(overlap: float) -> None:
    """Cells of 23 x 19 pixels without a gap, cut by all borders."""
    rows, columns = np.mgrid[:200, :210]
    numbers = rows // 23 * 100 + columns // 19
    masks = np.stack([numbers == number for number in np.unique(numbers)])
    assert_same(predict_scene(masks, Tiles(size=64, overlap=overlap)), masks)


@pytest.mark.parametrize("overlap", [0, 0.2])
def test_long_touching_stripes_across_all_tiles_stay_separate(overlap: float) -> None:
    masks = np.stack([rectangle(150, 300, x1=0, y1=top, x2=300, y2=top + 15) for top in range(0, 150, 15)])
    assert_same(predict_scene(masks, Tiles(size=64, overlap=overlap)), masks)


def test_classes_are_not_joined() -> None:
    masks = np.stack([rectangle(100, 100, x1=10, y1=40, x2=90, y2=60)] * 2)
    objects = predict_scene(masks, Tiles(size=64), labels=[0, 1])
    assert sorted(objects.labels.tolist()) == [0, 1]
    assert_same(objects, masks)


@pytest.mark.parametrize("size", [(64, 64), (65, 64), (64, 65), (63, 40), (1, 1), (1, 200), (129, 127)])
@pytest.mark.parametrize("overlap", [0, 0.2])
def test_any_size_of_an_image(size: tuple[int, int], overlap: float) -> None:
    masks = np.ones((1, *size), np.bool_)
    assert_same(predict_scene(masks, Tiles(size=64, overlap=overlap)), masks)


def test_random_scenes_are_exact() -> None:
    random = np.random.default_rng(0)
    for _ in range(5):
        canvas = np.zeros((300, 340), np.int32)
        for number in range(1, 80):
            centre, axes = random.integers(0, 340, 2), random.integers(3, 60, 2)
            cv2.ellipse(canvas, centre.tolist(), axes.tolist(), float(random.integers(180)), 0, 360, number, -1)
        parts = [
            components == part
            for number in np.unique(canvas)[1:]
            for count, components in [cv2.connectedComponents((canvas == number).astype(np.uint8))]
            for part in range(1, count)
        ]
        masks = np.stack([part for part in parts if part.sum() > 30])
        assert_same(predict_scene(masks, Tiles(size=128, overlap=0.3)), masks)


def test_the_batch_size_bounds_the_tiles_of_all_images() -> None:
    masks = rectangle(100, 100, x1=20, y1=20, x2=90, y2=90)[None]
    predict, batches = true_masks(masks, [0]), []

    def recording(batch: TileBatch) -> list[TileObjects]:
        batches.append(len(batch.images))
        assert all(image.shape == (64, 64, 3) for image in batch.images)
        return predict(batch)

    images = [NumberedPixels(100, 100)] * 3
    results = list(predict_by_tiles(images, tiles=Tiles(size=64, batch_size=5), predict=recording))
    assert batches == [5, 5, 2]
    for objects in results:
        assert_same(objects, masks)


def test_a_small_image_is_padded_and_its_mask_is_not() -> None:
    shown = []

    def predict(batch: TileBatch) -> list[TileObjects]:
        shown.append(batch)
        size = batch.original_sizes[0]
        return [TileObjects(np.zeros(1, np.int64), np.ones(1, np.float32), encode_masks(np.ones((1, *size), bool)))]

    (objects,) = predict_by_tiles(
        [NumberedPixels(20, 10)], tiles=Tiles(size=64, scale=2.0), predict=predict, pad_value=(7, 8, 9)
    )
    assert shown[0].image_sizes == [(40, 20)] and shown[0].original_sizes == [(20, 10)]
    assert (shown[0].images[0][40:] == (7, 8, 9)).all() and (shown[0].images[0][:, 20:] == (7, 8, 9)).all()
    assert_same(objects, np.ones((1, 20, 10), np.bool_))


def test_an_image_without_objects() -> None:
    objects = predict_scene(np.zeros((1, 100, 100), np.bool_), Tiles(size=64))
    assert objects.rles == [] and objects.boxes.shape == (0, 4) and objects.labels.dtype == np.int64
