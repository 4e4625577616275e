"""Statistics of the usable annotations of a file: objects an image, sizes, classes, overlap."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from solo.datasets.coco.annotation_table import AnnotatedImage
from solo.datasets.insight.source import AnnotationSource
from solo.datasets.insight.tables import format_table

QUANTILES = {"min": 0.0, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "max": 1.0}
OVERLAPS = (0.0, 0.3, 0.5, 0.7)
"""Box IoU with another object of the image that is counted above these."""
COCO_SIZES = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, np.inf)}
"""Ranges of the area in pixels that COCO's AP distinguishes."""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class DataStatistics:
    """The N ordinary objects of I images in columns, and what is counted from them.

    Attributes:
        classes: Names; their indices are the labels.
        image_sizes: (I, 2) height and width in pixels.
        counts: (I,) objects of each image.
        crowds: Number of crowd regions.
        labels: (N,) label of each object.
        image_index: (N,) its image.
        scales: (N,) sqrt(box area) in pixels, which `scale_ranges` of a grid are compared with.
        areas: (N,) mask area in pixels, as in the file or counted in the mask.
        overlaps: (N,) largest box IoU with another object of the image.
    """

    classes: tuple[str, ...]
    image_sizes: Integers
    counts: Integers
    crowds: int
    labels: Integers
    image_index: Integers
    scales: Floats
    areas: Floats
    overlaps: Floats

    @classmethod
    def from_source(cls, source: AnnotationSource) -> DataStatistics:
        """Measure all objects of a file."""
        images = list(source.checked.annotated_images())
        kept = [_ordinary(image) for image in images]
        counts = np.array([len(rows) for rows in kept], np.int64)
        boxes = [image.instances.box_array()[rows] for image, rows in zip(images, kept, strict=True)]
        sides = np.concatenate([np.zeros((0, 2)), *(each[:, 2:] - each[:, :2] for each in boxes)])
        labels = [np.asarray(image.instances.labels, np.int64)[rows] for image, rows in zip(images, kept, strict=True)]
        areas = [image.measures()[rows, 4] for image, rows in zip(images, kept, strict=True)]
        return cls(
            classes=source.checked.classes,
            image_sizes=np.array([(image.height, image.width) for image in images], np.int64).reshape(-1, 2),
            counts=counts,
            crowds=sum(len(image.instances) for image in images) - int(counts.sum()),
            labels=np.concatenate([np.zeros(0, np.int64), *labels]),
            image_index=np.repeat(np.arange(len(images)), counts),
            scales=np.sqrt(sides.prod(axis=1)),
            areas=np.concatenate([np.zeros(0), *areas]),
            overlaps=np.concatenate([np.zeros(0), *map(largest_ious, boxes)]),
        )

    def as_dict(self) -> dict[str, Any]:
        """Everything as numbers and texts."""
        sizes = Counter(f"{width} x {height}" for height, width in self.image_sizes.tolist())
        return {
            "images": len(self.counts),
            "images_without_objects": int((self.counts == 0).sum()),
            "objects": len(self.labels),
            "crowd_regions": self.crowds,
            "image_sizes": dict(sizes.most_common(5)),
            "other_image_sizes": max(0, len(sizes) - 5),
            "quantiles": {
                "objects an image": _quantiles(self.counts),
                "image width (px)": _quantiles(self.image_sizes[:, 1]),
                "image height (px)": _quantiles(self.image_sizes[:, 0]),
                "sqrt of box area (px)": _quantiles(self.scales),
                "mask area (px)": _quantiles(self.areas),
                "mask area (% of image)": _quantiles(self._relative_areas() * 100),
            },
            "coco_sizes": {
                name: float(((self.areas >= low) & (self.areas < high)).mean()) if len(self.areas) else 0.0
                for name, (low, high) in COCO_SIZES.items()
            },
            "classes": self._count_classes(),
            "overlap": {
                f"box IoU > {limit:g}": float((self.overlaps > limit).mean()) if len(self.overlaps) else 0.0
                for limit in OVERLAPS
            },
        }

    def _relative_areas(self) -> Floats:
        return np.asarray(self.areas / self.image_sizes.prod(axis=1)[self.image_index], np.float64)

    def _count_classes(self) -> dict[str, dict[str, float]]:
        found = {}
        for label, name in enumerate(self.classes):
            rows = self.labels == label
            found[name] = {
                "objects": int(rows.sum()),
                "images": len(np.unique(self.image_index[rows])),
                "median_sqrt_box_area": float(np.median(self.scales[rows])) if rows.any() else 0.0,
            }
        return found

    def __str__(self) -> str:
        values = self.as_dict()
        sizes = ", ".join(f"{count} of {size}" for size, count in values["image_sizes"].items())
        more = f" and {values['other_image_sizes']} other sizes" if values["other_image_sizes"] else ""
        quantiles = [[name, *map(_number, row.values())] for name, row in values["quantiles"].items()]
        classes = [
            [name, str(row["objects"]), str(row["images"]), _number(row["median_sqrt_box_area"])]
            for name, row in values["classes"].items()
        ]
        return "\n".join(
            [
                f"{values['images']} images ({values['images_without_objects']} without objects), {values['objects']} "
                f"objects, {values['crowd_regions']} crowd regions",
                f"image sizes (width x height): {sizes}{more}",
                "",
                format_table(["", *QUANTILES], quantiles),
                "",
                format_table(["class", "objects", "images", "median sqrt of box area (px)"], classes),
                "",
                "COCO sizes: " + ", ".join(f"{share:.1%} {name}" for name, share in values["coco_sizes"].items()),
                "objects that overlap another one: "
                + ", ".join(f"{share:.1%} with {name}" for name, share in values["overlap"].items()),
            ]
        )


def largest_ious(boxes: Floats) -> Floats:
    """Largest IoU (N,) of each box (N, 4) x1 y1 x2 y2 with another one; 0 for a single one."""
    if len(boxes) < 2:
        return np.zeros(len(boxes))
    largest = np.zeros(len(boxes))
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    for index, box in enumerate(boxes):  # row by row: an image may have thousands of objects
        sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])  # (N, 2)
        common = sides.clip(0).prod(axis=1)
        ious = common / np.maximum(areas[index] + areas - common, 1e-9)
        ious[index] = 0
        largest[index] = ious.max()
    return largest


def _ordinary(image: AnnotatedImage) -> Integers:
    return np.flatnonzero(np.asarray(image.instances.ignore_flags, np.int64) == 0)


def _quantiles(values: npt.NDArray[Any]) -> dict[str, float]:
    return {name: float(np.quantile(values, q)) if len(values) else 0.0 for name, q in QUANTILES.items()}


def _number(value: float) -> str:
    return f"{value:.0f}" if value == int(value) or value >= 100 else f"{value:.3g}"
