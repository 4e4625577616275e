"""Scenes and what the comparison of tiles computes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.scenes import BORDER, PART, Scene, SceneObject, draw_scenes, join_scenes
from benchmarks.tiles import evaluate, main
from solo.inference.instances import Instances
from solo.masks.rle import encode_masks


def masks_of(scene: Scene) -> np.ndarray:
    masks = np.zeros((len(scene.objects), *scene.image.shape[:2]), bool)
    for mask, each in zip(masks, scene.objects, strict=True):
        height, width = each.mask.shape
        mask[each.top : each.top + height, each.left : each.left + width] = each.mask > 0
    return masks


def test_drawn_objects_are_bright_apart_and_whole() -> None:
    scenes = draw_scenes(count=2, objects=21)
    assert sorted(len(scene.objects) for scene in scenes) == [10, 11]
    for scene in scenes:
        masks = masks_of(scene)
        assert scene.image.shape == (PART, PART, 3) and masks.sum(axis=0).max() == 1
        assert not any(each.is_at_border for each in scene.objects)
        light = scene.image[..., 0]
        assert min(light[mask].mean() for mask in masks) > 3 * light[~masks.any(axis=0)].mean()
    assert (draw_scenes(count=1, objects=5)[0].image == draw_scenes(count=1, objects=5)[0].image).all()


def test_a_mosaic_holds_the_objects_where_its_images_do() -> None:
    scenes = draw_scenes(count=7, objects=21)
    mosaic, *others = join_scenes(scenes, rows=2, columns=3)
    assert not others and mosaic.image.shape == (2 * PART, 3 * PART, 3)
    whole = masks_of(mosaic).any(axis=0)
    for index, scene in enumerate(scenes[:6]):
        top, left = index // 3 * PART, index % 3 * PART
        np.testing.assert_array_equal(whole[top : top + PART, left : left + PART], masks_of(scene).any(axis=0))


def square(left: int, *, is_at_border: bool = False) -> SceneObject:
    return SceneObject(0, left, 10, np.ones((20, 20), np.uint8), is_at_border)


@pytest.mark.parametrize(("is_at_border", "expected"), [(False, 51 / 101), (True, 1.0)])
def test_objects_at_the_border_do_not_count_inside(is_at_border: bool, expected: float) -> None:
    """One of two objects is found: 51 of COCO's 101 recalls are reached, or the only one that counts is found."""
    scene = Scene(np.zeros((40, 80, 3), np.uint8), [square(10), square(50, is_at_border=is_at_border)])

    def predict(image: np.ndarray, **options: Any) -> Instances:
        assert options == dict(tile=0)
        rles = encode_masks(masks_of(scene)[:1])
        boxes = np.array([[10, 10, 30, 30]])
        return Instances(labels=[0], scores=[0.9], boxes=boxes, rles=rles, image_size=(40, 80), classes=("a",))

    row = evaluate(predict, [scene], classes=("a",), max_dets=10, tile=0)
    assert row["mask_ap"] == pytest.approx(51 / 101) and row["inner_mask_ap"] == pytest.approx(expected)
    assert (row["images"], row["objects"], row["found"]) == (1, 2, 1) and BORDER > 0


@pytest.mark.long
def test_the_command_on_a_drawn_scene(tmp_path: Path) -> None:
    words = ["nuclei-nano", "--drawn", "24", "--rows", "1", "--columns", "2", "--scale", "0.64"]
    assert main([*words, "--out", str(tmp_path / "rows.json")]) == 0
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert rows["mosaics by tiles"]["mask_ap"] == pytest.approx(rows["single images"]["mask_ap"], abs=0.05)
    assert rows["mosaics by tiles"]["mask_ap"] > 0.5
