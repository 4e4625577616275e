"""The usable instances of a whole annotation file in columns, and those of one image as they are kept."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from solo.datasets.coco.polygon_pixels import without_pixels
from solo.datasets.coco.polygon_table import CheckedPolygons, PackedPolygons, unpack_polygons


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


class InstanceTable:
    """Collects the instances of all images, a row each.

    Columns, because a dict for each of some hundred thousand instances, scattered over the memory, takes longer to
    visit again than it took to fill.
    """

    def __init__(self, image_ids: Iterable[Any]) -> None:
        self._rows: dict[Any, list[int]] = {image_id: [] for image_id in image_ids}
        self._boxes = array("d")
        self._sizes = array("q")
        self._labels: list[int] = []
        self._ignore_flags: list[int] = []
        self._masks: list[dict[str, Any] | Sequence[int]] = []
        self._annotation_ids: list[Any] = []

    def append(
        self,
        *,
        annotation_id: Any,
        image: dict[str, Any],
        box: list[float],
        label: int,
        is_crowd: bool,
        mask: dict[str, Any] | Sequence[int],
    ) -> None:
        """Add an instance of an image record: its box x1 y1 x2 y2, its mask an RLE or the positions of polygons."""
        self._rows[image["id"]].append(len(self._labels))
        self._boxes.fromlist(box)
        self._sizes.append(image["height"])
        self._sizes.append(image["width"])
        self._labels.append(label)
        self._ignore_flags.append(int(is_crowd))
        self._masks.append(mask)
        self._annotation_ids.append(annotation_id)

    def remove_empty(self, polygons: CheckedPolygons) -> list[tuple[Any, bool]]:
        """Remove what consists of polygons without a pixel; gives (annotation id, is a crowd region) of each."""
        candidates = [row for row, mask in enumerate(self._masks) if not isinstance(mask, dict)]
        objects: list[Any] = [self._masks[row] for row in candidates]
        sizes = np.asarray(self._sizes, np.int64).reshape(-1, 2)[candidates]
        empty = [candidates[index] for index in without_pixels(polygons, objects, sizes)]
        removed = set(empty)
        for image_id, rows in self._rows.items():
            if not removed.isdisjoint(rows):
                self._rows[image_id] = [row for row in rows if row not in removed]
        return [(self._annotation_ids[row], bool(self._ignore_flags[row])) for row in empty]

    def of_images(self, polygons: CheckedPolygons) -> dict[Any, ImageInstances]:
        """Image id -> its instances, in the order in which they came."""
        boxes = np.asarray(self._boxes, np.float64).reshape(-1, 4)

        def packed(mask: dict[str, Any] | Sequence[int]) -> dict[str, Any] | PackedPolygons:
            return mask if isinstance(mask, dict) else polygons.packed(mask)

        return {
            image_id: ImageInstances(
                boxes=boxes[rows].tobytes(),
                labels=[self._labels[row] for row in rows],
                ignore_flags=[self._ignore_flags[row] for row in rows],
                masks=[packed(self._masks[row]) for row in rows],
            )
            for image_id, rows in self._rows.items()
        }
