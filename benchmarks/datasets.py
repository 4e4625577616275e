"""Images to measure on: those of the config, of a folder, or generated for the measurement."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from mmengine.config import Config

from solo.errors import ConfigError

SHAPES = "drawn"
CROWDED = "crowded:"
SHAPES_IMAGES, SHAPES_SIDE, SHAPES_CLASSES = 16, 480, 4
CROWDED_HEIGHT, CROWDED_WIDTH, CROWDED_IMAGES, CROWDED_CLASSES = 480, 640, 4, 4
CROWDED_POINTS = 16
# Sides of the objects in pixels, small enough that 300 fit into an image.
SMALLEST, LARGEST = 12, 80

Split = Literal["train", "val"]


def dataset_config(config: Config, *, split: Split, data: str | None, work_dir: str) -> dict[str, Any]:
    """Options of the data set to measure on, with the config's pipeline of that split.

    Args:
        config: the config.
        split: selects loader, pipeline and images.
        data: folder of a COCO data set, "drawn", "crowded:N", or None for the data of the config.
        work_dir: folder for generated images.

    Raises:
        ConfigError: there is no such data.
    """
    dataset = inner_dataset(config, split)
    if data is None:
        return dict(dataset)
    options: dict[str, Any] = dict(pipeline=dataset["pipeline"], test_mode=split == "val")
    if data == SHAPES:
        if config.model.num_classes < SHAPES_CLASSES:
            raise ConfigError(f"--data {SHAPES} has {SHAPES_CLASSES} classes, the config {config.model.num_classes}")
        sizes = {"num_train": 1, "num_val": 1, f"num_{split}": SHAPES_IMAGES, "image_size": SHAPES_SIDE}
        location = dict(ann_file=f"annotations/instances_{split}.json", data_prefix=dict(img=f"{split}/"))
        folder = os.path.join(work_dir, f"{SHAPES}_{split}")
        return dict(type="Shapes", data_root=folder, **sizes, **location, **options)
    ann_file, images = _crowded(data, work_dir) if data.startswith(CROWDED) else _coco_files(data, split)
    return dict(
        type="CocoInstances", ann_file=str(ann_file.absolute()), data_prefix=dict(img=str(images.absolute())), **options
    )


def inner_dataset(config: Config, split: Split) -> Mapping[str, Any]:
    """The data set of a split inside its wrappers.

    Raises:
        ConfigError: the config has no such loader, or its data set no pipeline.
    """
    dataset = (config.get(f"{split}_dataloader") or {}).get("dataset") or {}
    while "pipeline" not in dataset and "dataset" in dataset:
        dataset = dataset["dataset"]
    if "pipeline" not in dataset:
        raise ConfigError(f"config {config.filename}: {split}_dataloader.dataset has no pipeline to measure")
    found: Mapping[str, Any] = dataset
    return found


def spread_indices(size: int, count: int) -> list[int]:
    """`count` indices, evenly spaced over a data set of `size` images."""
    return [number * size // count for number in range(count)]


def _crowded(data: str, work_dir: str) -> tuple[Path, Path]:
    number = data.removeprefix(CROWDED)
    if not number.isdecimal() or int(number) == 0:
        raise ConfigError(f"--data {data}: expected {CROWDED}N with N objects an image")
    return write_crowded(Path(work_dir), num_objects=int(number))


def _coco_files(data: str, split: Split) -> tuple[Path, Path]:
    found = sorted(Path(data).glob(f"annotations/instances_{split}*.json"))
    if not found:
        raise ConfigError(f"--data {data}: there is no annotations/instances_{split}*.json")
    return found[0], Path(data) / found[0].stem.removeprefix("instances_")


def write_crowded(folder: Path, *, num_objects: int, seed: int = 0) -> tuple[Path, Path]:
    """Generate images of many ellipses, later ones over earlier ones, each annotated as a polygon.

    Args:
        folder: where the images are written.
        num_objects: objects of each image.
        seed: of positions, sizes and colours.

    Returns:
        The annotation file and the folder of the images.
    """
    rng = np.random.default_rng(seed)
    images_dir = folder / "crowded"
    images_dir.mkdir(parents=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id in range(CROWDED_IMAGES):
        image = rng.integers(0, 60, (CROWDED_HEIGHT, CROWDED_WIDTH, 3), dtype=np.uint8)
        for outline in _outlines(rng, num_objects):
            cv2.fillPoly(image, [outline.round().astype(np.int32)], rng.integers(60, 256, 3).tolist())
            annotations.append(_annotation(outline, image_id, number=len(annotations) + 1, rng=rng))
        name = f"{image_id}.png"
        cv2.imwrite(str(images_dir / name), image)
        images.append(dict(id=image_id, file_name=name, height=CROWDED_HEIGHT, width=CROWDED_WIDTH))
    categories = [dict(id=number + 1, name=f"class {number}") for number in range(CROWDED_CLASSES)]
    path = folder / "crowded.json"
    path.write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))
    return path, images_dir


def _outlines(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, points, 2) x y of ellipses inside the image."""
    angles = np.linspace(0, 2 * np.pi, CROWDED_POINTS, endpoint=False)  # (points,)
    radii = rng.uniform(SMALLEST, LARGEST, (count, 1, 2)) / 2
    centers = radii + rng.random((count, 1, 2)) * (np.array([CROWDED_WIDTH, CROWDED_HEIGHT]) - 2 * radii)
    return np.asarray(centers + radii * np.stack([np.cos(angles), np.sin(angles)], axis=1))


def _annotation(outline: np.ndarray, image_id: int, *, number: int, rng: np.random.Generator) -> dict[str, Any]:
    (left, top), (right, bottom) = outline.min(axis=0), outline.max(axis=0)
    return dict(
        id=number,
        image_id=image_id,
        category_id=int(rng.integers(CROWDED_CLASSES)) + 1,
        iscrowd=0,
        area=float(np.pi / 4 * (right - left) * (bottom - top)),
        bbox=[float(side) for side in (left, top, right - left, bottom - top)],
        segmentation=[outline.ravel().tolist()],
    )
