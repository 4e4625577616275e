"""Usable annotations as records of a COCO file, for commands that write one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from solo.datasets.coco.annotation_table import AnnotatedImage
from solo.masks.segmentations import unpack_segmentation


def annotation_records(image: AnnotatedImage, category_ids: Sequence[int], *, image_id: Any) -> list[dict[str, Any]]:
    """The usable annotations of an image, crowd regions too, as in a COCO file.

    Args:
        image: The image, with the ids of its annotations.
        category_ids: Of each label.
        image_id: That the records shall have.
    """
    instances = image.instances
    columns = (instances.labels, instances.ignore_flags, instances.masks, image.measures().tolist())
    return [
        dict(
            id=annotation_id,
            image_id=image_id,
            category_id=category_ids[label],
            iscrowd=int(is_crowd),
            area=area,
            bbox=box,
            segmentation=unpack_segmentation(mask),
        )
        for annotation_id, label, is_crowd, mask, (*box, area) in zip(image.annotation_ids, *columns, strict=True)
    ]


def coco_content(
    images: Sequence[Mapping[str, Any]],
    annotations: Sequence[dict[str, Any]],
    categories: Sequence[Mapping[str, Any]],
    *,
    further: Mapping[str, Any],
) -> bytes:
    """The bytes of a COCO file. Annotations are numbered from 1 when ids are missing, repeated or no integers."""
    ids = {record["id"] for record in annotations if isinstance(record["id"], int)}
    if len(ids) < len(annotations):
        annotations = [{**record, "id": number} for number, record in enumerate(annotations, 1)]
    content = {**further, "images": images, "annotations": annotations, "categories": categories}
    return json.dumps(content).encode()
