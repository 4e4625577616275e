"""Scenes of many objects: images of a data set joined to mosaics, and drawn ones."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools.coco import COCO

from solo.config import load_config
from solo.engine.data_loader import inner_datasets
from solo.images.reading import read_image
from solo.registry import DATASETS

BORDER = 3
"""An object with pixels in so many outer rows or columns of its image is cut by the image's border."""

MIN_RADIUS, MAX_RADIUS, GAP = 16, 36, 3  # of drawn objects, pixels
PART = 500  # side of the squares that drawn scenes consist of, pixels


class SceneObject(NamedTuple):
    """An object: class, place of its box, the pixels (h, w) of its mask there."""

    label: int
    left: int
    top: int
    mask: npt.NDArray[np.uint8]
    is_at_border: bool  # of the image that it comes from, which a mosaic continues with another image


class Scene(NamedTuple):
    """An image (H, W, 3) BGR and its objects."""

    image: npt.NDArray[np.uint8]
    objects: list[SceneObject]


def read_scenes(config_path: str, *, data_root: str | None = None) -> list[Scene]:
    """Read the validation images of a config with their objects."""
    config = load_config(config_path)
    dataset = config.val_dataloader.dataset
    if data_root is not None:
        dataset.data_root = data_root
    (found,) = inner_datasets(DATASETS.build(dataset))
    with contextlib.redirect_stdout(io.StringIO()):
        annotations = COCO(found.ann_file)
    labels = {category: label for label, category in enumerate(sorted(annotations.getCatIds()))}
    scenes = []
    for index in range(len(found)):
        info = found.get_data_info(index)
        image = read_image(info["img_path"])
        objects = []
        for each in annotations.loadAnns(annotations.getAnnIds(info["img_id"], iscrowd=False)):
            mask = annotations.annToMask(each)
            objects.append(_place(labels[each["category_id"]], mask))
        scenes.append(Scene(image, objects))
    return scenes


def join_scenes(scenes: Sequence[Scene], *, rows: int, columns: int) -> Iterator[Scene]:
    """Join images of one size to mosaics; those that do not fill one are left out."""
    height, width = scenes[0].image.shape[:2]
    same = [scene for scene in scenes if scene.image.shape[:2] == (height, width)]
    for start in range(0, len(same) - rows * columns + 1, rows * columns):
        image = np.zeros((rows * height, columns * width, 3), np.uint8)
        objects = []
        for index, scene in enumerate(same[start : start + rows * columns]):
            top, left = index // columns * height, index % columns * width
            image[top : top + height, left : left + width] = scene.image
            objects += [each._replace(left=left + each.left, top=top + each.top) for each in scene.objects]
        yield Scene(image, objects)


def draw_scenes(*, count: int, objects: int, seed: int = 0) -> list[Scene]:
    """Draw squares of `PART` pixels with bright blobs on a dark ground, as fluorescent nuclei are, that do not touch.

    Args:
        count: how many squares.
        objects: how many objects on all of them, as evenly as they can be spread.
        seed: of the generator.
    """
    random = np.random.default_rng(seed)
    borders = np.linspace(0, objects, count + 1).round().astype(int)
    return [_draw_scene(random, objects=each) for each in np.diff(borders).tolist()]


def _draw_scene(random: np.random.Generator, *, objects: int) -> Scene:
    light = np.full((PART, PART), 10, np.float32)
    is_taken = np.zeros((PART, PART), np.uint8)
    near = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * GAP + 1, 2 * GAP + 1))
    found: list[SceneObject] = []
    while len(found) < objects:
        mask = _draw_blob(random)
        if (mask & is_taken).any():
            continue
        is_taken |= cv2.dilate(mask, near)
        texture = cv2.GaussianBlur(random.normal(size=mask.shape).astype(np.float32), (0, 0), 4)
        light += mask * (random.uniform(40, 130) + 60 * texture)
        found.append(_place(0, mask))
    light = cv2.GaussianBlur(light, (0, 0), 1.2) + random.normal(0, 2, light.shape)
    gray = light.round().clip(0, 255).astype(np.uint8)
    return Scene(cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR), found)


def _draw_blob(random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A mask (PART, PART) of an ellipse with a smooth, uneven outline."""
    radii = random.uniform(MIN_RADIUS, MAX_RADIUS, 2)
    margin = int(MAX_RADIUS * 1.2) + BORDER
    centre = random.integers(margin, PART - margin, 2)
    angles = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    unevenness = 1 + sum(random.uniform(-0.06, 0.06) * np.cos(k * angles + random.uniform(0, 6.3)) for k in (2, 3, 4))
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii * unevenness[:, None]
    turn = random.uniform(0, np.pi)
    points = points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + centre
    mask = np.zeros((PART, PART), np.uint8)
    cv2.fillPoly(mask, [points.round().astype(np.int32)], 1)
    return mask


def _place(label: int, mask: npt.NDArray[np.uint8]) -> SceneObject:
    """Cut the mask (H, W) of an object to its box."""
    left, top, width, height = cv2.boundingRect(mask)
    right, bottom = mask.shape[1] - left - width, mask.shape[0] - top - height
    is_at_border = min(left, top, right, bottom) < BORDER
    return SceneObject(label, left, top, mask[top : top + height, left : left + width].copy(), is_at_border)
