"""Results of a detector on a data set, drawn without images: what an evaluation is timed with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.structures import InstanceData
from pycocotools import mask as mask_api

HEIGHT, WIDTH = 480, 640
NUM_CLASSES = 80
OBJECTS, FALSE_DETECTIONS = 7, 7
"""Of an image in the mean; each object is found once, less well the less certain."""
OUTLINE_POINTS = 20
SMALLEST, LARGEST = 8.0, 300.0
"""Sides of objects in pixels, as often small as large: a third each of COCO's small, medium and large ones."""


class DrawnResults(NamedTuple):
    """Ground truth and results.

    Attributes:
        ann_file: the annotation file.
        classes: names of its categories.
        samples: of each image `img_id`, `ori_shape` and `pred_instances`: labels, scores, bboxes and run lengths.
    """

    ann_file: Path
    classes: tuple[str, ...]
    samples: list[dict[str, Any]]


def draw_results(folder: Path, *, num_images: int, seed: int = 0) -> DrawnResults:
    """Write an annotation file of polygons, and draw what a detector found: objects moved a little, and things amiss.

    Args:
        folder: where the file goes.
        num_images: images, 7 objects and 14 detections each in the mean.
        seed: of everything drawn.
    """
    rng = np.random.default_rng(seed)
    classes = tuple(f"class {label}" for label in range(NUM_CLASSES))
    images = [dict(id=number, file_name=f"{number}.jpg", height=HEIGHT, width=WIDTH) for number in range(num_images)]
    annotations: list[dict[str, Any]] = []
    samples = []
    for image in images:
        labels, outlines = _objects(rng, rng.poisson(OBJECTS))
        for label, outline in zip(labels, outlines, strict=True):
            annotations.append(_annotation(len(annotations) + 1, image["id"], label, outline))
        samples.append(
            dict(img_id=image["id"], ori_shape=(HEIGHT, WIDTH), pred_instances=_detections(rng, labels, outlines))
        )
    categories = [dict(id=label + 1, name=name) for label, name in enumerate(classes)]
    ann_file = folder / "instances_drawn.json"
    ann_file.write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))
    return DrawnResults(ann_file, classes, samples)


def _objects(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels (count,), a few classes being most frequent, and outlines (count, points, 2) x y of ellipses."""
    labels = np.minimum(rng.exponential(NUM_CLASSES / 6, count).astype(np.int64), NUM_CLASSES - 1)
    angles = np.linspace(0, 2 * np.pi, OUTLINE_POINTS, endpoint=False)
    sides = SMALLEST * (LARGEST / SMALLEST) ** rng.random((count, 1, 1)) * rng.uniform(0.7, 1.4, (count, 1, 2))
    centers = rng.random((count, 1, 2)) * np.array([WIDTH, HEIGHT])
    return labels, _inside(centers + sides / 2 * np.stack([np.cos(angles), np.sin(angles)], axis=1))


def _inside(outlines: np.ndarray) -> np.ndarray:
    """Kept in the picture, to hundredths of a pixel as COCO's."""
    return np.asarray(outlines.clip(0, np.array([WIDTH, HEIGHT])).round(2))


def _annotation(identifier: int, image_id: Any, label: int, outline: np.ndarray) -> dict[str, Any]:
    low, high = outline.min(axis=0), outline.max(axis=0)
    polygon = outline.ravel().tolist()
    return dict(
        id=identifier,
        image_id=image_id,
        category_id=int(label) + 1,
        iscrowd=int(identifier % 100 == 0),
        bbox=[*low.tolist(), *(high - low).tolist()],
        area=float(mask_api.area(mask_api.frPyObjects([polygon], HEIGHT, WIDTH)[0])),
        segmentation=[polygon],
    )


def _detections(rng: np.random.Generator, labels: np.ndarray, outlines: np.ndarray) -> InstanceData:
    more_labels, more_outlines = _objects(rng, rng.poisson(FALSE_DETECTIONS))
    found, amiss = rng.random(len(labels)), 0.7 * rng.random(len(more_labels))
    scores = np.concatenate([found, amiss]).round(3)  # rounded, so that some are equal
    sizes = np.ptp(outlines, axis=1, keepdims=True)
    moved = outlines + sizes * (1 - found[:, None, None]) * rng.uniform(-0.3, 0.3, (len(labels), 1, 2))
    shapes = _inside(np.concatenate([moved, more_outlines]))
    order = np.argsort(-scores, kind="stable")
    shapes = shapes[order]
    boxes = np.concatenate([shapes.min(axis=1), shapes.max(axis=1)], axis=1)
    return InstanceData(
        labels=torch.from_numpy(np.concatenate([labels, more_labels])[order]),
        scores=torch.from_numpy(scores[order].astype(np.float32)),
        bboxes=torch.from_numpy(boxes.astype(np.float32)),
        masks=[_encode(outline) for outline in shapes],
    )


def _encode(outline: np.ndarray) -> dict[str, Any]:
    rle = mask_api.frPyObjects([outline.ravel().tolist()], HEIGHT, WIDTH)[0]
    return dict(size=[HEIGHT, WIDTH], counts=rle["counts"].decode("ascii"))
