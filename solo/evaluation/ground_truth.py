"""The ground truth of a COCO annotation file, made safe for its evaluation."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log
from pycocotools import mask as mask_api

from solo.errors import DataError
from solo.garbage_collection import paused_garbage_collection

MAX_NAMED = 5


def read_annotation_file(path: str | Path) -> dict[str, Any]:
    """Read a COCO annotation file.

    Raises:
        DataError: the file is missing, is not JSON, or lacks the list of images or of categories.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot read the annotation file: {error.strerror or error}") from None
    except ValueError as error:
        raise DataError(f"{path}: the annotation file is not valid JSON: {error}") from None
    for key in ("images", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise DataError(f"{path}: not a COCO annotation file: it holds no list {key!r}")
    return content


@paused_garbage_collection()
def usable_ground_truth(content: dict[str, Any], *, with_masks: bool, source: str) -> dict[str, Any]:
    """The annotation file with the annotations that masks (or boxes) can be compared with, and no others.

    Annotations get ids from 1, because COCOeval takes an object whose id is 0 for an unmatched one; a missing
    `iscrowd` or `area` is filled in. What has no usable mask (or box) is left out, counted and logged.

    Args:
        content: what `read_annotation_file` returned; it stays as it is.
        with_masks: whether masks are compared; else boxes.
        source: name of the file for the log.
    """
    sizes = {image["id"]: [image.get("height"), image.get("width")] for image in content["images"]}
    usable: list[dict[str, Any]] = []
    unusable: list[Any] = []
    for annotation in content.get("annotations", []):
        prepared = _with_mask(annotation, sizes) if with_masks else _with_box(annotation, sizes)
        if prepared is None:
            unusable.append(annotation.get("id"))
            continue
        prepared["id"] = len(usable) + 1
        prepared["iscrowd"] = int(annotation.get("iscrowd", 0))
        usable.append(prepared)
    if unusable:
        named = ", ".join(str(identifier) for identifier in unusable[:MAX_NAMED])
        print_log(
            f"{source}: {len(unusable)} annotations have no usable {'mask' if with_masks else 'box'} and are left out"
            f" of the evaluation (ids {named}{', ...' if len(unusable) > MAX_NAMED else ''})",
            logger="current",
            level=logging.WARNING,
        )
    return {**content, "annotations": usable}


def _with_mask(annotation: dict[str, Any], sizes: dict[Any, list[int]]) -> dict[str, Any] | None:
    size = sizes.get(annotation.get("image_id"))
    segmentation = annotation.get("segmentation")
    if size is None or not segmentation:
        return None
    if isinstance(segmentation, list):
        segmentation = [polygon for polygon in segmentation if len(polygon) >= 6 and len(polygon) % 2 == 0]
        if not segmentation:
            return None
    elif list(segmentation.get("size", [])) != size or "counts" not in segmentation:
        return None
    prepared = {**annotation, "segmentation": segmentation}
    if "area" not in annotation:
        encoded = _encode(segmentation, size)
        parts = encoded if isinstance(encoded, list) else [encoded]
        prepared["area"] = float(sum(mask_api.area(part) for part in parts))
    return prepared


def _with_box(annotation: dict[str, Any], sizes: dict[Any, list[int]]) -> dict[str, Any] | None:
    size = sizes.get(annotation.get("image_id"))
    if size is None:
        return None
    box = annotation.get("bbox") or _box_of_mask(annotation, sizes)
    if box is None or len(box) != 4 or box[2] <= 0 or box[3] <= 0:
        return None
    return {**annotation, "bbox": box, "area": annotation.get("area", box[2] * box[3])}


def _box_of_mask(annotation: dict[str, Any], sizes: dict[Any, list[int]]) -> list[float] | None:
    """x y width height of a usable segmentation, as the training takes it where the annotation has no box."""
    prepared = _with_mask(annotation, sizes)
    if prepared is None:
        return None
    boxes = np.atleast_2d(mask_api.toBbox(_encode(prepared["segmentation"], sizes[annotation["image_id"]])))
    left, top = boxes[:, :2].min(axis=0)
    right, bottom = (boxes[:, :2] + boxes[:, 2:]).max(axis=0)
    return [float(left), float(top), float(right - left), float(bottom - top)]


def _encode(segmentation: Any, size: list[int]) -> Any:
    """Polygons (one RLE each) or an RLE in the compressed form."""
    if isinstance(segmentation, list) or isinstance(segmentation["counts"], list):
        return mask_api.frPyObjects(segmentation, *size)
    return segmentation
