"""Scenes of rectangles for the tests of reports: annotated images and detections of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from solo.datasets.coco.annotation_table import AnnotatedImage
from solo.datasets.coco.annotations import read_annotations
from solo.evaluation.detections import ImageDetections
from tests.helpers.evaluation import CATEGORY_IDS, CLASSES, annotation, random_scene, rectangle, write_file

Box = tuple[int, int, int, int]
"""x, y, width, height."""


def scene(
    folder: Path, objects: list[list[tuple[int, Box]]], found: list[list[tuple[int, float, Box]]]
) -> tuple[list[AnnotatedImage], list[ImageDetections]]:
    """Images with (label, box) objects and (label, score, box) detections."""
    annotations = [
        annotation(rectangle(*box), image_id=10 + number, category_id=CATEGORY_IDS[label])
        for number, image in enumerate(objects)
        for label, box in image
    ]
    masks = [np.stack([rectangle(*box) for _, _, box in image]) if image else None for image in found]
    detections = [
        detect(10 + number, mask, [label for label, _, _ in image], [score for _, score, _ in image])
        for number, (image, mask) in enumerate(zip(found, masks, strict=True))
    ]
    return read(write_file(folder, annotations, num_images=len(objects))), detections


def random_images(folder: Path, seed: int) -> tuple[list[AnnotatedImage], list[ImageDetections]]:
    """The images of `random_scene`: noisy detections, wrong classes, crowds."""
    annotations, predictions = random_scene(seed)
    detections = [ImageDetections.from_instances(p["img_id"], p["pred_instances"]) for p in predictions]
    return read(write_file(folder, annotations, num_images=4)), detections


def read(ann_file: str) -> list[AnnotatedImage]:
    return list(read_annotations(ann_file, classes=CLASSES, for_evaluation=True).annotated_images())


def detect(image_id: int, masks: np.ndarray | None, labels: list[int], scores: list[float]) -> ImageDetections:
    instances: dict[str, Any] = dict(
        labels=np.array(labels, np.int64),
        scores=np.array(scores, np.float32),
        bboxes=np.zeros((len(labels), 4), np.float32),
        masks=[] if masks is None else masks,
    )
    return ImageDetections.from_instances(image_id, instances)
