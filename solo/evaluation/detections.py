"""The detections of an image as an evaluation stores them: a few arrays, and all RLEs in one text."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from solo.masks.encoding import encode_bitmaps
from solo.masks.rle import RLE, decode_counts, encode_masks, rle_areas

SEPARATOR = b"\n"
"""Between RLEs; no RLE contains it."""

MAX_HEADER_BYTES = 4096
COLUMNS = {"labels": "<i4", "scores": "<f4", "boxes": "<f4", "areas": "<f8"}
"""The arrays of an image in the order in which they are written, with their types."""


@dataclass(frozen=True)
class ImageDetections:
    """The detections of one image, small enough to keep and to send between ranks.

    A dataclass, since mmengine takes tuples apart when it collects results.

    Attributes:
        image_id: as in the annotation file.
        labels: (D,) int32.
        scores: (D,) float32.
        boxes: (D, 4) float32, x1 y1 x2 y2 in pixels of the image.
        areas: (D,) float64, pixels of the masks.
        size: [height, width] of the masks, pixels; empty without one.
        counts: `counts` of the D RLEs, one per line.
    """

    image_id: Any
    labels: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    size: list[int]
    counts: bytes

    @classmethod
    def from_instances(cls, image_id: Any, instances: Any) -> ImageDetections:
        """Encode the `pred_instances` of a sample.

        Args:
            image_id: as in the annotation file.
            instances: their masks are (D, H, W) bool or D RLEs.
        """
        rles = _encode(instances["masks"])
        return cls(
            image_id=image_id,
            labels=_to_numpy(instances["labels"]).astype(np.int32),
            scores=_to_numpy(instances["scores"]).astype(np.float32),
            boxes=_to_numpy(instances["bboxes"]).astype(np.float32).reshape(-1, 4),
            areas=rle_areas(rles).astype(np.float64),
            size=list(rles[0]["size"]) if rles else [],
            counts=SEPARATOR.join(rle["counts"].encode("ascii") for rle in rles),
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> ImageDetections:
        """Read what `to_bytes` wrote; the arrays are views of `data`.

        Raises:
            ValueError: `data` is something else.
        """
        start = data.index(SEPARATOR) + 1
        header: Any = json.loads(data[:start]) if start <= MAX_HEADER_BYTES else None
        match header:
            case {"image_id": int() | str() as image_id, "size": [] | [int(), int()] as size, "count": int(count)}:
                is_valid = count in range(2**31) and bool not in map(type, (image_id, *size, count))
            case _:
                is_valid = False
        if not is_valid:
            raise ValueError("no header with the image's id, the size of its masks and their number")
        columns = {}
        for name, dtype in COLUMNS.items():
            column = np.frombuffer(data, dtype, count=4 * count if name == "boxes" else count, offset=start)
            start += column.nbytes
            columns[name] = column.reshape(count, 4) if name == "boxes" else column
        return cls(image_id=header["image_id"], size=header["size"], counts=data[start:], **columns)

    def to_bytes(self) -> bytes:
        """Serialise for a file or another process."""
        header = json.dumps(dict(image_id=self.image_id, size=self.size, count=len(self.labels)))
        columns = (getattr(self, name).astype(dtype, copy=False).tobytes() for name, dtype in COLUMNS.items())
        return b"".join([header.encode("ascii"), SEPARATOR, *columns, self.counts])

    def check_labels(self, num_classes: int) -> None:
        """Raise ValueError if a label is not one of `num_classes`."""
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < num_classes:
            reach = f"{self.labels.min()}..{self.labels.max()}"
            raise ValueError(f"labels reach {reach}, but the data has {num_classes} classes")

    def check(self, num_classes: int) -> None:
        """Check the values, as those of a file that may have been changed.

        Raises:
            ValueError: a label is not one of `num_classes`, a number is not finite, or a text is no RLE of `size`
                or of another area.
        """
        self.check_labels(num_classes)
        if not all(np.isfinite(column).all() for column in (self.scores, self.boxes, self.areas)):
            raise ValueError("scores, boxes and areas must be finite numbers")
        texts = self.counts.split(SEPARATOR) if self.counts else []
        if len(texts) != len(self.labels):
            raise ValueError(f"expected {len(self.labels)} masks, got {len(texts)}")
        pairs, ends = decode_counts(texts)
        pixels = math.prod(self.size)
        if texts and not (min(self.size) > 0 and pixels < 2**32 and 0 <= pairs.min() <= pairs.max() <= pixels):
            raise ValueError(f"a mask has counts beyond its size {self.size}")
        sums = np.concatenate([np.zeros((1, 2), np.int64), pairs.cumsum(axis=0)])[[0, *ends]]  # (D + 1, 2)
        sums = np.diff(sums, axis=0)  # (D, 2) pixels of the background and of the object
        if (sums.sum(axis=1) != pixels).any() or (sums[:, 1] != self.areas).any():
            raise ValueError(f"the counts of a mask do not sum up to its area, or to {self.size} pixels")

    def select(self, keep: np.ndarray) -> ImageDetections:
        """The detections that a mask (D,) bool keeps."""
        counts = itertools.compress(self.counts.split(SEPARATOR), keep)
        columns = {name: getattr(self, name)[keep] for name in COLUMNS}
        return ImageDetections(image_id=self.image_id, size=self.size, counts=SEPARATOR.join(counts), **columns)

    def texts(self) -> list[str]:
        """`counts` of the D RLEs."""
        return self.counts.decode("ascii").split("\n") if len(self.labels) else []

    def encodings(self) -> list[RLE]:
        """The D RLEs."""
        return [RLE(size=self.size, counts=text) for text in self.texts()]

    def to_coco(self, category_ids: Sequence[int]) -> Iterator[dict[str, Any]]:
        """Convert to COCO's results format, given the category id of each label."""
        rows = zip(
            self.labels.tolist(), self.scores.tolist(), boxes_xywh(self.boxes).tolist(), self.encodings(), strict=True
        )
        for label, score, box, segmentation in rows:
            yield dict(
                image_id=self.image_id,
                category_id=category_ids[label],
                bbox=box,
                score=score,
                segmentation=segmentation,
            )


def boxes_xywh(boxes: np.ndarray) -> np.ndarray:
    """Convert (D, 4) x1 y1 x2 y2 to (D, 4) float64 x y width height."""
    boxes = boxes.astype(np.float64)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def _encode(masks: Any) -> Sequence[RLE]:
    if isinstance(masks, list):
        return masks
    if isinstance(masks, torch.Tensor) and masks.dtype == torch.bool and masks.ndim == 3:
        return encode_bitmaps(masks).rles
    return encode_masks(_to_numpy(masks))


def _to_numpy(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
