"""What becomes of the masks of two or three tiles when the network errs: each case by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from solo.masks.rle import decode_masks, encode_masks
from solo.tiles import Objects, TileObjects, Tiles
from solo.tiles.prediction import join_tiles
from tests.tiles.scenes import rectangle

LAYOUT = Tiles(size=64, overlap=0.25).layout(64, 112)
"""Two tiles, columns 0 to 64 and 48 to 112: they share 48 to 64."""

Box = tuple[int, int, int, int]


def join(*tiles: Sequence[tuple[Box, float]], label: int = 0) -> Objects:
    """Join tiles given by the boxes x1 y1 x2 y2, in the image, and the scores of what they show."""
    found = []
    for window, objects in zip(LAYOUT.windows, tiles, strict=True):
        masks = np.zeros((len(objects), 64, 112), np.bool_)
        for mask, ((x1, y1, x2, y2), _) in zip(masks, objects, strict=True):
            mask[y1:y2, x1:x2] = True
        scores = np.array([score for _, score in objects], np.float32)
        masks = masks[:, :, window.x1 : window.x2]
        found.append(TileObjects(np.full(len(objects), label, np.int64), scores, encode_masks(masks)))
    return join_tiles(LAYOUT, found)


def boxes(objects: Objects) -> list[list[float]]:
    return sorted(objects.boxes.tolist())


def test_a_whole_object_has_the_mask_and_the_score_of_its_tile() -> None:
    objects = join([((40, 10, 64, 30), 0.9)], [((44, 10, 70, 30), 0.7)])
    assert boxes(objects) == [[40, 10, 70, 30]]  # both cut: 44 is the border of the second tile's margin
    objects = join([((50, 10, 64, 30), 0.9)], [((53, 11, 80, 30), 0.6)])
    assert boxes(objects) == [[53, 11, 80, 30]]
    assert objects.scores.tolist() == pytest.approx([0.6])


def test_of_two_whole_masks_the_better_one_stays() -> None:
    objects = join([((52, 10, 59, 30), 0.6)], [((53, 10, 60, 30), 0.8)])
    assert boxes(objects) == [[53, 10, 60, 30]]
    assert objects.scores.tolist() == pytest.approx([0.8])


def test_fragments_that_agree_roughly_are_united_with_the_best_score() -> None:
    objects = join([((10, 10, 64, 30), 0.5)], [((48, 11, 110, 32), 0.8)])
    assert boxes(objects) == [[10, 10, 110, 32]]
    assert objects.scores.tolist() == pytest.approx([0.8])
    united = decode_masks(objects.rles, size=(64, 112))[0]
    expected = rectangle(64, 112, x1=10, y1=10, x2=64, y2=30) | rectangle(64, 112, x1=48, y1=11, x2=110, y2=32)
    np.testing.assert_array_equal(united, expected)


def test_neighbours_that_meet_in_the_shared_zone_are_not_united() -> None:
    objects = join([((10, 10, 64, 30), 0.9)], [((48, 31, 110, 50), 0.9)])
    assert boxes(objects) == [[10, 10, 64, 30], [48, 31, 110, 50]]


def test_a_mask_of_two_objects_does_not_connect_them() -> None:
    """The second tile tells apart two objects that the first one shows as one."""
    objects = join([((10, 10, 64, 50), 0.9)], [((48, 10, 110, 30), 0.8), ((48, 30, 110, 50), 0.7)])
    assert len(objects.rles) == 2
    assert [48, 30, 110, 50] in boxes(objects)


def test_a_piece_that_agrees_with_nothing_but_lies_in_an_object_is_dropped() -> None:
    objects = join([((58, 12, 64, 16), 0.4)], [((56, 10, 90, 40), 0.9)])
    assert boxes(objects) == [[56, 10, 90, 40]]


def test_a_mask_that_ends_too_early_does_not_cut_the_object() -> None:
    """The second tile shows an end within itself, but most of the first tile's mask lies outside the second."""
    objects = join([((5, 10, 64, 30), 0.6)], [((53, 10, 64, 30), 0.9)])
    assert boxes(objects) == [[5, 10, 64, 30]]


def test_what_overlaps_across_tiles_is_decayed_once() -> None:
    """Whole masks with an IoU of 1/3 in the zone: exp(-2 / 9) for the worse one, nothing for the better one."""
    objects = join([((52, 10, 60, 30), 0.9)], [((52, 20, 60, 40), 0.8)])
    assert objects.scores.tolist() == pytest.approx([0.9, 0.8 * np.exp(-2 / 9)])


def test_masks_of_one_tile_do_not_decay_each_other_again() -> None:
    objects = join([((10, 10, 40, 30), 0.9), ((10, 20, 40, 40), 0.8)], [])
    assert objects.scores.tolist() == pytest.approx([0.9, 0.8])


def test_scores_below_the_models_threshold_are_kept() -> None:
    objects = join([((10, 10, 40, 30), 0.01)], [])
    assert objects.scores.tolist() == pytest.approx([0.01])


def test_masks_without_a_pixel_are_dropped() -> None:
    objects = join([((10, 10, 10, 10), 0.9)], [((70, 10, 90, 30), 0.8)])
    assert boxes(objects) == [[70, 10, 90, 30]]


def test_masks_of_another_size_are_refused() -> None:
    wrong = TileObjects(np.zeros(1, np.int64), np.ones(1, np.float32), encode_masks(np.ones((1, 64, 63), np.bool_)))
    empty = TileObjects(np.zeros(0, np.int64), np.zeros(0, np.float32), [])
    with pytest.raises(ValueError, match="sum up to 64 x 64"):
        join_tiles(LAYOUT, [wrong, empty])
