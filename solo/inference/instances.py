"""The result of a prediction: instances of one image, in numpy."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from solo.errors import OutputError
from solo.masks.outlines import Ring, trace_rings
from solo.masks.rle import RLE, decode_masks, decode_windows, rle_areas
from solo.output_files import write_output

Index = int | slice | Sequence[int] | Sequence[bool] | npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Instances:
    """D instances of an image, in the pixels of the original image. Masks stay encoded until bitmaps are asked for.

    `len(instances)` is D. `instances[index]` selects rows as an array does, by an integer, a slice, or an array of
    integers or booleans, and returns `Instances`, also for one integer; iterating yields `Instances` of length 1. So
    `instances[instances.scores > 0.5]` keeps the confident ones.

    Attributes:
        labels: (D,) int64, indices into `classes`.
        scores: (D,) float32.
        boxes: (D, 4) float32, x1 y1 x2 y2 in pixels; x2 and y2 are exclusive.
        rles: D masks in COCO's run-length encoding.
        image_size: (height, width) of the image, pixels.
        classes: class names.
        ids: (D,) int64 identities across the frames of a video, -1 for objects that are not tracked; None without
            tracking.

    Raises:
        ValueError: the fields do not have the same length, a label has no class name, or a mask another size.
    """

    labels: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    boxes: npt.NDArray[np.float32]
    rles: Sequence[RLE]
    image_size: tuple[int, int]
    classes: Sequence[str]
    ids: npt.NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        """Convert the fields to their types and check that they fit together."""
        height, width = (int(side) for side in self.image_size)
        converted = dict(
            labels=np.asarray(self.labels, np.int64),
            scores=np.asarray(self.scores, np.float32),
            boxes=np.asarray(self.boxes, np.float32).reshape(-1, 4),
            rles=tuple(self.rles),
            image_size=(height, width),
            classes=tuple(self.classes),
        )
        for name, value in converted.items():
            object.__setattr__(self, name, value)
        lengths = {name: len(getattr(self, name)) for name in ("labels", "scores", "boxes", "rles")}
        if self.ids is not None:
            object.__setattr__(self, "ids", np.asarray(self.ids, np.int64))
            lengths["ids"] = len(self.ids)
        if len(set(lengths.values())) > 1:
            raise ValueError(f"all fields must have one row for each instance, got {lengths}")
        if len(self) and not 0 <= self.labels.min() <= self.labels.max() < len(self.classes):
            raise ValueError(
                f"labels reach {self.labels.min()}..{self.labels.max()}, but there are {len(self.classes)} class names"
            )
        for rle in self.rles:
            if tuple(rle["size"]) != self.image_size:
                raise ValueError(f"a mask has the size {tuple(rle['size'])}, the image has {self.image_size}")

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        counts = np.bincount(self.labels, minlength=len(self.classes))
        found = ", ".join(f"{counts[label]} {self.classes[label]}" for label in np.flatnonzero(counts).tolist())
        return f"Instances({found or 'none'}; {self.image_size[0]} x {self.image_size[1]} pixels)"

    def __getitem__(self, index: Index) -> Instances:
        rows = np.atleast_1d(np.arange(len(self))[index])
        rles = [self.rles[row] for row in rows]
        ids = None if self.ids is None else self.ids[rows]
        labels, scores, boxes = self.labels[rows], self.scores[rows], self.boxes[rows]
        return replace(self, labels=labels, scores=scores, boxes=boxes, rles=rles, ids=ids)

    def __iter__(self) -> Iterator[Instances]:
        return (self[row] for row in range(len(self)))

    @property
    def areas(self) -> npt.NDArray[np.int64]:
        """(D,) int64 pixels of each mask, computed without bitmaps."""
        return rle_areas(self.rles)

    def to_bool(self) -> npt.NDArray[np.bool_]:
        """Decode the masks to bitmaps: (D, H, W) bool."""
        return decode_masks(self.rles, size=self.image_size)

    def label_map(self) -> npt.NDArray[np.int32]:
        """Number the pixels by instance.

        Returns:
            (H, W) int32: 0 for the background, i + 1 for instance i. Where masks overlap the higher score wins.
        """
        numbers = np.zeros(self.image_size, np.int32)
        windows = list(decode_windows(self.rles, size=self.image_size))
        for index in self.scores.argsort(kind="stable"):
            left, pixels = windows[index]
            numbers[:, left : left + pixels.shape[1]][pixels] = index + 1
        return numbers

    def polygons(self) -> list[list[Ring]]:
        """Trace the masks along the edges of their pixels, without loss: parts and holes are kept.

        Pixel (column, row) covers [column, column + 1] x [row, row + 1], so a mask of the first pixel alone has the
        corners (0, 0), (1, 0), (1, 1) and (0, 1). Parts that touch only at corners have separate rings.

        Returns:
            For each instance its rings; `ring.points` (P, 2) int64 x y, `ring.is_hole`. Formats without holes, such as
            COCO polygons, take the rings with `is_hole` False and lose the holes.
        """
        return [
            [Ring(ring.points + np.array([left, 0]), ring.is_hole) for ring in trace_rings(pixels)]
            for left, pixels in decode_windows(self.rles, size=self.image_size)
        ]

    def to_coco(
        self, *, image_id: int | str, category_ids: Sequence[int] | None = None, first_id: int = 1
    ) -> list[dict[str, Any]]:
        """Convert to COCO annotations, which `pycocotools.coco.COCO` reads as ground truth and `loadRes` as results.

        Args:
            image_id: id of the image.
            category_ids: category id of each label; 1, 2, ... in the order of `classes` by default.
            first_id: id of the first annotation; the others follow. COCO's evaluation needs ids above 0.

        Returns:
            D dicts: id, image_id, category_id, bbox (x y width height), area, segmentation (RLE), iscrowd, score; and
            track_id of those that are tracked.
        """
        ids = range(1, len(self.classes) + 1) if category_ids is None else category_ids
        boxes = self.boxes.astype(np.float64)
        boxes[:, 2:] -= boxes[:, :2]
        columns = (self.labels.tolist(), boxes.tolist(), self.areas.tolist(), self.rles, self.scores.tolist())
        annotations = [
            dict(
                id=first_id + row,
                image_id=image_id,
                category_id=int(ids[label]),
                bbox=box,
                area=area,
                segmentation=rle,
                iscrowd=0,
                score=score,
            )
            for row, (label, box, area, rle, score) in enumerate(zip(*columns, strict=True))
        ]
        for row in [] if self.ids is None else np.flatnonzero(self.ids >= 0).tolist():
            annotations[row]["track_id"] = int(self.ids[row])  # type: ignore[index]
        return annotations

    def to_supervision(self) -> Any:
        """Convert to `supervision.Detections`, with bitmaps as `mask` and names in `data["class_name"]`.

        Raises:
            ImportError: supervision is not installed.
        """
        try:
            supervision = importlib.import_module("supervision")
        except ModuleNotFoundError as error:
            if error.name != "supervision":
                raise
            raise ImportError("Instances.to_supervision needs supervision: pip install supervision") from None
        return supervision.Detections(
            xyxy=self.boxes,
            mask=self.to_bool(),
            confidence=self.scores,
            class_id=self.labels,
            tracker_id=self.ids,
            data={"class_name": np.array([self.classes[label] for label in self.labels], dtype=str)},
        )

    def plot(self, image: npt.NDArray[np.uint8], **options: Any) -> npt.NDArray[np.uint8]:
        """Draw the instances onto the image; `image` and `options` as for `solo.draw_instances`."""
        from solo.inference.visualization import draw_instances

        return draw_instances(image, self, **options)

    def save(self, path: str | Path, *, file_name: str = "", image_id: int = 1) -> None:
        """Write a COCO annotation file with this image, its instances as `to_coco` gives them, and all categories.

        A file of this name is replaced once the new one is whole; a link is replaced, not followed.

        Args:
            path: the file, *.json.
            file_name: name of the image in the file.
            image_id: its id.

        Raises:
            OutputError: the suffix is not .json, or the file cannot be written.
        """
        path = Path(path).expanduser()
        if path.suffix.lower() != ".json":
            raise OutputError(f"{path}: instances are saved as a COCO annotation file, expected the suffix .json")
        height, width = self.image_size
        content = dict(
            images=[dict(id=image_id, file_name=file_name, width=width, height=height)],
            annotations=self.to_coco(image_id=image_id),
            categories=coco_categories(self.classes),
        )
        write_output(path, json.dumps(content).encode())


def coco_categories(classes: Sequence[str]) -> list[dict[str, Any]]:
    """The categories of a COCO file: ids 1, 2, ... in the order of the class names."""
    return [dict(id=index, name=name) for index, name in enumerate(classes, start=1)]
