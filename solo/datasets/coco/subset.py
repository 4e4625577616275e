"""Writes a part of a COCO file as a COCO file of its own: some images, objects above a size, some classes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

from solo.datasets.coco.annotation_table import AnnotatedImage
from solo.datasets.coco.annotations import read_annotations
from solo.errors import DataError, suggestion
from solo.masks.segmentations import unpack_segmentation
from solo.output_files import check_outputs, write_output


def write_subset(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    num_images: int | None = None,
    min_side: float = 0.0,
    classes: Sequence[str] | None = None,
    overwrite: bool = False,
) -> dict[str, int]:
    """Write the first images of a COCO file that have a fitting object, with those objects alone.

    Args:
        source: the COCO annotation file; what training would leave out of it is left out.
        target: the file to write; its folder is made.
        num_images: number of images, at most; None for all.
        min_side: an object's box must have sqrt(width * height) of more than this many pixels.
        classes: names of the classes to keep, with their ids; None for all, also those that no longer occur.
        overwrite: replace `target` if it exists.

    Returns:
        Counts: `images` and `objects` that were kept, and `objects_dropped`, usable ones of the kept images.

    Raises:
        DataError: `source` cannot be used, a class is unknown, or nothing is left.
        OutputError: `target` cannot be written, is `source`, or exists and `overwrite` is False.
    """
    if num_images is not None and num_images < 1:
        raise DataError(f"the number of images must be at least 1, got {num_images}")
    check_outputs([target], overwrite=overwrite, inputs=[source], allow_streams=True)
    checked = read_annotations(source)
    for name in classes or ():
        if name not in checked.classes:
            raise DataError(f"{source} has no class {name!r}{suggestion(name, checked.classes)}")
    names = checked.classes if classes is None else classes
    wanted = {label: checked.categories[label] for label, name in enumerate(checked.classes) if name in names}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    num_before = 0
    for record, image in zip(checked.images, checked.annotated_images(), strict=True):
        kept = [entry for entry in _objects(image, wanted) if (entry["bbox"][2] * entry["bbox"][3]) ** 0.5 > min_side]
        if kept and len(images) != num_images:
            images.append(record)
            annotations += kept
            num_before += len(image.instances.labels)
    if not annotations:
        raise DataError(f"{source} has no object with a side above {min_side} px of the classes asked for")
    ids = {annotation["id"] for annotation in annotations if isinstance(annotation["id"], int)}
    if len(ids) < len(annotations):  # missing or repeated ones
        annotations = [{**annotation, "id": number} for number, annotation in enumerate(annotations, 1)]
    subset = {**checked.further, "images": images, "annotations": annotations, "categories": list(wanted.values())}
    write_output(target, json.dumps(subset).encode())
    return {"images": len(images), "objects": len(annotations), "objects_dropped": num_before - len(annotations)}


def _objects(image: AnnotatedImage, categories: dict[int, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The ordinary objects of an image with one of the labels, as in a COCO file."""
    instances = image.instances
    columns = (instances.labels, instances.ignore_flags, instances.masks, image.measures().tolist())
    for annotation_id, label, is_crowd, mask, (*box, area) in zip(image.annotation_ids, *columns, strict=True):
        if label in categories and not is_crowd:
            yield dict(
                id=annotation_id,
                image_id=image.image_id,
                category_id=categories[label]["id"],
                iscrowd=0,
                area=area,
                bbox=box,
                segmentation=unpack_segmentation(mask),
            )
