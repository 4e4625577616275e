"""Builders of tiny COCO data sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from solo.registry import DATASETS

SQUARE = [[2.0, 2.0, 10.0, 2.0, 10.0, 10.0, 2.0, 10.0]]
TRAIN = [
    dict(type="LoadImage"),
    dict(type="LoadInstances"),
    dict(type="mmdet.Resize", scale=(48, 32), keep_ratio=True),
    dict(type="mmdet.RandomFlip", prob=0.5),
    dict(type="PackSample"),
]


def annotation(annotation_id: int, *, image_id: int = 1, **changes: Any) -> dict[str, Any]:
    """A sound annotation of an 8x8 square; a change to None takes the key away."""
    sound = dict(
        id=annotation_id,
        image_id=image_id,
        category_id=1,
        iscrowd=0,
        area=64,
        bbox=[2.0, 2.0, 8.0, 8.0],
        segmentation=SQUARE,
    )
    return {key: value for key, value in {**sound, **changes}.items() if value is not None}


def content(annotations: list[dict[str, Any]], *, num_images: int = 1) -> dict[str, Any]:
    """A COCO file of images of 24 x 16 pixels and the categories 1 (cat) and 7 (dog), in reverse order."""
    return dict(
        images=[dict(id=i, file_name=f"{i}.png", height=16, width=24) for i in range(1, num_images + 1)],
        annotations=annotations,
        categories=[dict(id=7, name="dog"), dict(id=1, name="cat")],
    )


def write(folder: Path, what: Any, *, name: str = "annotations.json") -> Path:
    """Write JSON and an image for each image record; image i is filled with the value i."""
    path = folder / name
    path.write_text(json.dumps(what))
    for image in what.get("images", []) if isinstance(what, dict) else []:
        pixels = np.full((image["height"], image["width"], 3), image["id"] % 256, np.uint8)
        cv2.imwrite(str(folder / image["file_name"]), pixels)
    return path


def build(folder: Path, what: Any = None, **options: Any) -> Any:
    """The data set of some JSON content; its files are written first."""
    if what is not None:
        write(folder, what)
    options = dict(pipeline=TRAIN, filter_cfg=dict(filter_empty_gt=True)) | options
    return DATASETS.build(
        dict(type="solo.CocoInstances", data_root=str(folder), ann_file="annotations.json", **options)
    )


def objects(count: int) -> dict[str, Any]:
    """Content of `count` images with one object each."""
    return content([annotation(i, image_id=i) for i in range(1, count + 1)], num_images=count)
