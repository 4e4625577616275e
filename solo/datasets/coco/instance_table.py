"""The instances of one image, as they are stored and as mmdet's transforms expect them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from solo.datasets.coco.polygons import PackedPolygons, unpack_polygons


@dataclass(frozen=True, kw_only=True)
class ImageInstances:
    """The N instances of one image; small, and quick to pickle.

    Attributes:
        boxes: (N, 4) x1 y1 x2 y2 in pixels of the image, as the bytes of float64.
        labels: N labels.
        ignore_flags: N times 1 for a crowd region, 0 for an object.
        masks: N times an RLE, or polygons.
    """

    boxes: bytes
    labels: list[int]
    ignore_flags: list[int]
    masks: list[dict[str, Any] | PackedPolygons]

    def unpack(self) -> list[dict[str, Any]]:
        """N times `dict(bbox=[x1, y1, x2, y2], bbox_label, ignore_flag, mask=RLE or [[x, y, x, y, ...], ...])`."""
        boxes = np.frombuffer(self.boxes, np.float64).reshape(-1, 4).tolist()
        columns = zip(boxes, self.labels, self.ignore_flags, self.masks, strict=True)
        return [
            dict(
                bbox=box,
                bbox_label=label,
                ignore_flag=ignore_flag,
                mask=mask if isinstance(mask, dict) else unpack_polygons(mask),
            )
            for box, label, ignore_flag, mask in columns
        ]
