"""The forms in which instances are sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np

from solo.inference.instances import Instances, coco_categories

JsonFormat = Literal["polygons", "rle", "coco"]
Format = Literal["polygons", "rle", "coco", "png"]
MAX_LABELS = 2**16 - 1
"""Instances that a 16-bit label map can number."""


class ImageInfo(NamedTuple):
    """The image that instances belong to."""

    name: str
    model: str
    seconds: dict[str, float]


def to_content(instances: Instances, info: ImageInfo, *, form: JsonFormat) -> dict[str, Any]:
    """The instances as JSON-ready content; see docs/serve.md for its keys."""
    height, width = instances.image_size
    if form == "coco":
        return dict(
            images=[dict(id=1, file_name=info.name, width=width, height=height)],
            annotations=instances.to_coco(image_id=1),
            categories=coco_categories(instances.classes),
        )
    return dict(
        image=dict(name=info.name, width=width, height=height),
        model=info.model,
        seconds=info.seconds,
        instances=list(_rows(instances, form)),
    )


def _rows(instances: Instances, form: JsonFormat) -> Iterator[dict[str, Any]]:
    fields = (
        instances.labels.tolist(),
        instances.scores.astype(float).round(6).tolist(),
        instances.boxes.astype(float).round(2).tolist(),
        instances.areas.tolist(),
    )
    polygons = instances.polygons() if form == "polygons" else [()] * len(instances)
    for label, score, box, area, rle, rings in zip(*fields, instances.rles, polygons, strict=True):
        row = dict(label=instances.classes[label], label_id=label, score=score, box=box, area=area)
        if form == "polygons":
            row["polygons"] = [dict(points=ring.points.tolist(), is_hole=bool(ring.is_hole)) for ring in rings]
        else:
            row["rle"] = dict(size=list(rle["size"]), counts=rle["counts"])
        yield row


def to_png(instances: Instances) -> bytes:
    """A 16-bit PNG that numbers the pixels by instance, as `Instances.label_map`: 0 is the background.

    Raises:
        ValueError: there are more than `MAX_LABELS` instances.
    """
    if len(instances) > MAX_LABELS:
        raise ValueError(f"a 16-bit PNG holds at most {MAX_LABELS} instances, there are {len(instances)}")
    _, content = cv2.imencode(".png", instances.label_map().astype(np.uint16))
    return content.tobytes()
