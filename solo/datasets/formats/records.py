"""What every format is read into: images with their objects, and what could not be taken over."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from solo.errors import printable
from solo.masks.column_runs import ColumnRuns
from solo.masks.rle import RLE, encode_masks, encode_runs
from solo.masks.segmentations import pack_segmentation, runs_from_segmentations

Polygons: TypeAlias = list[list[float]]
"""Each x y x y ... in pixels; together they are one object."""

DEFAULT_CLASS = "object"
_EXAMPLES = 5


@dataclass(frozen=True, kw_only=True)
class ObjectRecord:
    """One object, or a crowd region."""

    class_name: str
    segmentation: Polygons | RLE | dict[str, Any]
    object_id: int | str  # for reports: the annotation's id, or the file and the line or value
    is_crowd: bool = False


@dataclass(frozen=True, kw_only=True)
class ImageRecord:
    """One image and its objects, in the pixels of an image of (height, width)."""

    name: str  # within the split, with / between folders
    path: Path  # the image file, or the annotation file that has it inside
    height: int
    width: int
    objects: Sequence[ObjectRecord]
    content: bytes | None = None  # the image, where an annotation file has it inside


@dataclass(kw_only=True)
class ConversionReport:
    """Counts of a conversion.

    Attributes:
        images: Images written.
        objects: Objects written, without crowd regions.
        crowds: Crowd regions written.
        lost: What could not be read, or cannot be held by the target -> ids of the objects or names of the files.
        remarks: Further sentences.
        compared: Masks that were converted to polygons and compared with what they were.
        changed: Ids of those that lost or gained a pixel.
        lowest_iou: The lowest IoU among them.
    """

    images: int = 0
    objects: int = 0
    crowds: int = 0
    lost: defaultdict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    remarks: list[str] = field(default_factory=list)
    compared: int = 0
    changed: list[Any] = field(default_factory=list)
    lowest_iou: float = 1.0

    def __str__(self) -> str:
        lines = [f"{self.images} images, {self.objects} objects, {self.crowds} crowd regions"]
        lines += [f"  {remark}" for remark in self.remarks]
        if self.compared:
            lines.append(
                f"  {self.compared} masks written as polygons: {self.compared - len(self.changed)} equal pixel by "
                f"pixel, lowest IoU {self.lowest_iou:.4f}"
                + (f", changed: {_examples(self.changed)}" if self.changed else "")
            )
        lines += [f"  {len(ids)} left out, {kind}: {_examples(ids)}" for kind, ids in sorted(self.lost.items())]
        return "\n".join(map(printable, lines))


class Source(Protocol):
    """An opened data set."""

    classes: tuple[str, ...]  # names, in the order of their labels
    splits: tuple[str, ...]  # names such as "train"

    def images(self, split: str) -> Iterator[ImageRecord]:
        """Read the images of a split, one after the other."""


def _examples(ids: Sequence[Any]) -> str:
    return ", ".join(map(str, ids[:_EXAMPLES])) + (", ..." if len(ids) > _EXAMPLES else "")


def encode_bitmap(mask: npt.NDArray[np.bool_]) -> RLE:
    """Encode a bitmap (H, W)."""
    return encode_masks(mask[None])[0]


def runs_of(objects: Sequence[ObjectRecord], *, height: int, width: int) -> ColumnRuns:
    """The pixels of objects, as training sees them.

    Raises:
        SegmentationError: A segmentation cannot be used.
    """
    packed = [pack_segmentation(each.segmentation) for each in objects]
    return runs_from_segmentations(packed, height=height, width=width)


def to_rles(objects: Sequence[ObjectRecord], *, height: int, width: int) -> list[RLE]:
    """The pixels of objects as RLEs.

    Raises:
        SegmentationError: A segmentation cannot be used.
    """
    runs = runs_of(objects, height=height, width=width)
    has_pixel = runs.rows[0] < runs.rows[1]  # polygons leave runs without one
    runs = runs._replace(mask=runs.mask[has_pixel], column=runs.column[has_pixel], rows=runs.rows[:, has_pixel])
    filled = np.flatnonzero(runs.areas())
    encoded = dict(zip(filled.tolist(), encode_runs(runs.select(filled)), strict=True))
    empty = RLE(size=[height, width], counts=encode_bitmap(np.zeros((height, width), np.bool_))["counts"])
    return [encoded.get(index, empty) for index in range(len(objects))]
