"""Predictions of one contender as COCO results, with the time of each image. Needs nothing but pycocotools."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

Detections = list[dict[str, Any]]  # label, score and segmentation (RLE) of each
MAX_DETECTIONS = 400


def prediction_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every contender's `predict` has."""
    parser.add_argument("--annotations", type=Path, required=True, help="COCO file of the images")
    parser.add_argument("--images", type=Path, required=True, help="their folder")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json")


def write_predictions(predict: Callable[[Path], Detections], arguments: argparse.Namespace) -> None:
    """Predict every image, from file to RLE, and write `results` and `milliseconds` (median of an image).

    Args:
        predict: image file -> its detections; labels are in the order of the file's categories.
        arguments: of `prediction_options`.
    """
    content = json.loads(arguments.annotations.read_text())
    category_ids = [category["id"] for category in content["categories"]]
    results, seconds = [], []
    predict(arguments.images / content["images"][0]["file_name"])  # not timed: caches and allocations
    for image in content["images"]:
        start = time.perf_counter()
        detections = predict(arguments.images / image["file_name"])
        seconds.append(time.perf_counter() - start)
        for found in detections:
            category_id = category_ids[found.pop("label")]
            results.append(dict(found, image_id=image["id"], category_id=category_id))
    out = dict(milliseconds=1000 * statistics.median(seconds), results=results)
    arguments.out.write_text(json.dumps(out))


def detections_of_bitmaps(labels: npt.NDArray[Any], scores: npt.NDArray[Any], masks: npt.NDArray[Any]) -> Detections:
    """Encode bitmaps.

    Args:
        labels: (D,) integers.
        scores: (D,) float.
        masks: (D, h, w) bool or uint8.
    """
    rles = coco_mask.encode(np.asfortranarray(masks.astype(np.uint8).transpose(1, 2, 0)))
    return [
        dict(label=int(label), score=float(score), segmentation=dict(rle, counts=rle["counts"].decode()))
        for label, score, rle in zip(labels, scores, rles, strict=True)
    ]
