"""A part of a COCO file as a COCO file of its own: some images, objects above a size, some classes."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from solo.datasets.coco.annotations import read_annotations
from solo.errors import DataError, suggestion


def write_subset(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    num_images: int | None = None,
    min_side: float = 0.0,
    classes: Sequence[str] | None = None,
) -> dict[str, int]:
    """Write the first images of a COCO file that have a fitting object, with those objects alone.

    Args:
        source: the COCO annotation file.
        target: the file to write; its folder is made.
        num_images: how many images at most; None for all.
        min_side: an object's box must have sqrt(width * height) of more than this many pixels.
        classes: names of the classes to keep, with their ids; None for all, also those that no longer occur.

    Returns:
        Counts: `images` and `objects` that were kept, `objects_dropped` of the kept images.

    Raises:
        DataError: `source` cannot be used, a class is unknown, nothing is left, or `target` cannot be written or is
            `source`.
    """
    if num_images is not None and num_images < 1:
        raise DataError(f"the number of images must be at least 1, came {num_images}")
    if Path(target).resolve() == Path(source).resolve():
        raise DataError(f"{target} is the source itself, which would be lost; choose another file to write")
    read_annotations(source)
    content = json.loads(Path(source).read_text())
    names = {category["name"]: category["id"] for category in content["categories"]}
    for name in classes or ():
        if name not in names:
            raise DataError(f"{source} has no class {name!r}{suggestion(name, names)}")
    wanted_ids = {names[name] for name in classes} if classes is not None else set(names.values())

    def fits(annotation: dict[str, Any]) -> bool:
        _, _, width, height = annotation["bbox"]
        is_large = (width * height) ** 0.5 > min_side
        return is_large and not annotation.get("iscrowd", 0) and annotation["category_id"] in wanted_ids

    kept = [annotation for annotation in content["annotations"] if fits(annotation)]
    with_objects = {annotation["image_id"] for annotation in kept}
    images = [image for image in content["images"] if image["id"] in with_objects][:num_images]
    image_ids = {image["id"] for image in images}
    kept = [annotation for annotation in kept if annotation["image_id"] in image_ids]
    if not kept:
        raise DataError(f"{source} has no object with a side above {min_side} px of the classes asked for")
    categories = [category for category in content["categories"] if category["id"] in wanted_ids]
    before = sum(annotation["image_id"] in image_ids for annotation in content["annotations"])

    subset = {**content, "images": images, "annotations": kept, "categories": categories}
    try:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).write_text(json.dumps(subset))
    except OSError as error:
        raise DataError(f"{target} cannot be written: {error.strerror}") from None
    return {"images": len(images), "objects": len(kept), "objects_dropped": before - len(kept)}
