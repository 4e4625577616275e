"""Small annotation files, predictions near their objects, and their evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.structures import BaseDataElement, InstanceData
from pycocotools import mask as mask_api

from solo.evaluation import CocoMaskMetric
from solo.evaluation.detections import ImageDetections
from solo.masks.rle import encode_counts, encode_masks

HEIGHT, WIDTH = 120, 160
CLASSES = ("disc", "square", "star")
CATEGORY_IDS = (3, 7, 90)
META = dict(classes=CLASSES, category_ids=CATEGORY_IDS)
STAT_KEYS = ("mAP", "mAP_50", "mAP_75", "mAP_s", "mAP_m", "mAP_l")


def rectangle(x: int, y: int, width: int, height: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[y : y + height, x : x + width] = True
    return mask


def annotation(mask: np.ndarray, *, image_id: int, category_id: int, **extra: Any) -> dict[str, Any]:
    rle = encode_masks(mask[None])[0]
    box = mask_api.toBbox(rle).tolist()
    return dict(
        image_id=image_id,
        category_id=category_id,
        segmentation=rle,
        bbox=box,
        area=float(mask.sum()),
        iscrowd=0,
        **extra,
    )


def write_file(folder: Path, annotations: list[dict[str, Any]], *, num_images: int = 2) -> str:
    for index, entry in enumerate(annotations):
        entry.setdefault("id", index)  # starts at 0 on purpose: COCOeval alone would lose that object
    content = dict(
        images=[dict(id=10 + i, file_name=f"{i}.png", height=HEIGHT, width=WIDTH) for i in range(num_images)],
        annotations=annotations,
        categories=[dict(id=i, name=name) for i, name in zip(CATEGORY_IDS, CLASSES, strict=True)],
    )
    path = folder / "annotations.json"
    path.write_text(json.dumps(content))
    return str(path)


def prediction(img_id: int, masks: list[np.ndarray], labels: list[int], scores: list[float]) -> dict[str, Any]:
    stacked = torch.from_numpy(np.stack(masks)) if masks else torch.zeros(0, HEIGHT, WIDTH, dtype=torch.bool)
    boxes = [[c.min(), r.min(), c.max() + 1, r.max() + 1] for r, c in (np.nonzero(mask) for mask in masks)]
    instances = InstanceData(
        labels=torch.tensor(labels, dtype=torch.int64),
        scores=torch.tensor(scores, dtype=torch.float32),
        masks=stacked,
        bboxes=torch.tensor(np.array(boxes), dtype=torch.float32).reshape(-1, 4),
    )
    return BaseDataElement(pred_instances=instances, metainfo=dict(img_id=img_id)).to_dict()


def evaluate(ann_file: str, predictions: list[dict[str, Any]], **options: Any) -> dict[str, float]:
    metric = CocoMaskMetric(ann_file=ann_file, **options)
    metric.dataset_meta = META
    for entry in predictions:
        metric.process(None, [entry])
    return metric.evaluate(len(predictions))


def random_scene(seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Annotations of four images, one crowd among them, and noisy predictions of them."""
    rng = np.random.default_rng(seed)
    annotations, predictions = [], []
    for image in range(4):
        masks, labels = [], []
        for _ in range(int(rng.integers(0, 9))):
            width, height = (int(side) for side in rng.integers(4, 110, 2))
            x, y = int(rng.integers(0, WIDTH - 10)), int(rng.integers(0, HEIGHT - 10))
            label = int(rng.integers(0, 2))  # "star" never occurs
            annotations.append(
                annotation(rectangle(x, y, width, height), image_id=10 + image, category_id=CATEGORY_IDS[label])
            )
            annotations[-1]["iscrowd"] = int(rng.random() < 0.15)
            moved = rectangle(max(x + int(rng.integers(-3, 4)), 0), max(y + int(rng.integers(-3, 4)), 0), width, height)
            masks.append(moved & (rng.random((HEIGHT, WIDTH)) < 0.97))
            labels.append(label if rng.random() < 0.85 else 2)
        predictions.append(prediction(10 + image, masks, labels, rng.random(len(masks)).tolist()))
    for index, entry in enumerate(annotations):
        entry["id"] = index + 1
    return annotations, predictions


def generated_image(image_id: int, *, count: int = 100) -> ImageDetections:
    """A hundred detections of an image of 480x640, as a trained model gives them."""
    generator = np.random.default_rng(image_id)
    counts = generator.integers(200, 700, (count, 61))
    counts[:, -1] = 480 * 640 - counts[:, :-1].sum(axis=1)
    texts = encode_counts(counts.ravel(), np.full(count, 61))
    instances = dict(
        labels=generator.integers(0, 80, count),
        scores=generator.random(count),
        bboxes=generator.random((count, 4)),
        masks=[dict(size=[480, 640], counts=text) for text in texts],
    )
    return ImageDetections.from_instances(image_id, instances)
