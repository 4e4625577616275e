"""The annotations of a whole file in columns: their fields, and the rules of boxes and masks for all at once."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from solo.datasets.coco import annotation_rules as rules
from solo.datasets.coco.instance_table import ImageInstances
from solo.datasets.coco.polygons import POINT_LISTS, CheckedPolygons, Floats
from solo.datasets.coco.report import CLIPPED, AnnotationReport
from solo.masks.segmentations import (
    EMPTY,
    Segmentation,
    SegmentationError,
    check_rle,
    runs_from_segmentations,
    select_usable,
)

ZERO_AREA = "box of zero area"
OUTSIDE = "box outside the image"

Integers = npt.NDArray[np.int64]
_MASKS_AT_ONCE = 500
_NO_ID = "(no id)"


class AnnotatedImage(NamedTuple):
    """An image and its N usable annotations, as an evaluation and the tools need them."""

    image_id: Any  # as in the file
    height: int  # pixels
    width: int
    instances: ImageInstances  # their boxes clipped to the image
    boxes_and_areas: bytes  # (N, 5) float64 x, y, width, height and area as in the file; NaN for an unreadable area
    annotation_ids: Sequence[Any] = ()  # as in the file; empty where they are not kept

    def measures(self) -> Floats:
        """(N, 5) x, y, width and height as in the file, and area; a missing area is counted in the mask."""
        values = np.frombuffer(self.boxes_and_areas).reshape(-1, 5).copy()
        missing = np.flatnonzero(np.isnan(values[:, 4]))
        if len(missing):
            masks = [self.instances.masks[row] for row in missing]
            values[missing, 4] = runs_from_segmentations(masks, height=self.height, width=self.width).areas()
        return values


class AnnotationTable:
    """Collects the annotations of all images, a row each: the fields are read in `append`, boxes and masks in `check`.

    Columns, because a dict for each of some hundred thousand annotations, scattered over the memory, takes longer to
    visit again than it took to fill.
    """

    def __init__(
        self,
        images: Sequence[Mapping[str, Any]],
        labels: Mapping[Any, int | None],
        polygons: CheckedPolygons,
        report: AnnotationReport,
    ) -> None:
        """Begin with no row; `labels` maps category ids to labels, or None for a class that was not asked for."""
        self._image_records, self._label_by_id = images, labels
        self._image_by_id = {image["id"]: (row, image["height"], image["width"]) for row, image in enumerate(images)}
        self._polygons, self._report = polygons, report
        self._seen: set[Any] = set()
        self._images, self._labels, self._ignore_flags = array("q"), array("q"), array("q")
        self._boxes_and_areas = array("d")
        self._masks: list[dict[str, Any] | Sequence[int]] = []  # RLEs, or indices of polygons
        self._annotation_ids: list[Any] = []
        self._without_box: list[int] = []
        self._empty_rles: list[int] = []

    def append(self, annotation: Mapping[str, Any]) -> None:
        """Read an annotation into a row, or count in the report why it cannot be used."""
        annotation_id = annotation.get("id", _NO_ID)
        try:
            self._append(annotation, annotation_id)
        except (rules.UnusableAnnotationError, SegmentationError) as problem:
            self._report.problems[problem.kind].append(annotation_id)

    def _append(self, annotation: Mapping[str, Any], annotation_id: Any) -> None:
        image_id, category_id = annotation.get("image_id"), annotation.get("category_id")
        if not rules.is_id(image_id) or image_id not in self._image_by_id:
            raise rules.UnusableAnnotationError(rules.UNKNOWN_IMAGE)
        if not rules.is_id(category_id) or category_id not in self._label_by_id:
            raise rules.UnusableAnnotationError(rules.UNKNOWN_CATEGORY)
        label = self._label_by_id[category_id]
        if label is None:
            self._report.other_classes += 1
            return
        image, height, width = self._image_by_id[image_id]
        is_crowd = rules.read_crowd_flag(annotation.get("iscrowd"))
        mask, has_pixel, repairs = self._read_mask(annotation.get("segmentation"), height=height, width=width)
        box, area = annotation.get("bbox"), annotation.get("area")
        sides = [0.0] * 4 if box is None else rules.read_box(box)
        pixels = rules.read_area(area)
        if pixels != pixels and area is not None:  # NaN
            repairs.append(rules.UNREADABLE_AREA)
        if box is None:
            self._without_box.append(len(self._images))
        if not has_pixel:
            self._empty_rles.append(len(self._images))
        self._images.append(image)
        self._labels.append(label)
        self._ignore_flags.append(int(is_crowd))
        self._boxes_and_areas.fromlist([*sides, pixels])
        self._masks.append(mask)
        self._annotation_ids.append(annotation_id)
        if rules.is_id(annotation_id) and annotation_id is not _NO_ID:
            if annotation_id in self._seen:
                repairs.append(rules.REPEATED_ID)
            self._seen.add(annotation_id)
        for kind in repairs:
            self._report.repairs[kind].append(annotation_id)

    def _read_mask(
        self, segmentation: Any, *, height: int, width: int
    ) -> tuple[dict[str, Any] | Sequence[int], bool, list[str]]:
        """An RLE, or the indices of polygons; False for an RLE without a pixel; and what was repaired."""
        if not segmentation:
            raise rules.UnusableAnnotationError(rules.NO_SEGMENTATION)
        if isinstance(segmentation, range):
            repairs = [POINT_LISTS] if segmentation.start in self._polygons.from_points else []
            return select_usable(segmentation, self._polygons.problems), True, repairs
        rle, was_bytes = rules.read_rle(segmentation)
        return rle, check_rle(rle, height=height, width=width), [rules.COUNTS_AS_BYTES] if was_bytes else []

    def check(self, *, for_evaluation: bool = False) -> dict[Any, AnnotatedImage]:
        """Check boxes and masks, and count in the report what is left out, clipped and used.

        Args:
            for_evaluation: Keep objects that have no pixel or whose box covers nothing of the image.

        Returns:
            Image id -> the image with its usable annotations, both in the order of the file.
        """
        report, records = self._report, self._image_records
        image = np.asarray(self._images, np.int64)  # (A,)
        sizes = np.array([(record["height"], record["width"]) for record in records], np.int64).reshape(-1, 2)
        values, is_missing, is_empty = self._measure(sizes[image])
        boxes = np.concatenate([values[:, :2], values[:, :2] + values[:, 2:4]], axis=1)  # (A, 4) x1 y1 x2 y2
        clipped = np.clip(boxes, 0, sizes[image][:, [1, 0, 1, 0]])  # (A, 4)
        is_sound = (values[:, 2:4] > 0).all(axis=1) & (boxes[:, 2:] < np.inf).all(axis=1)
        is_outside = (clipped[:, 2:] <= clipped[:, :2]).any(axis=1)
        kinds = ("", EMPTY, ZERO_AREA, OUTSIDE)
        kind = np.select([is_missing & is_empty, ~is_sound, is_outside, is_empty], [1, 2, 3, 1], 0)  # (A,)
        # pycocotools keeps what nothing can match: it lowers the recall.
        is_comparable = np.isfinite(values[:, :4]).all(axis=1) & (values[:, 2:4] >= 0).all(axis=1)
        is_kept = np.asarray(is_comparable & for_evaluation, np.bool_)  # (A,)
        for row in np.flatnonzero(kind).tolist():
            found = report.repairs if is_kept[row] else report.problems
            found[kinds[kind[row]]].append(self._annotation_ids[row])
        # COCO's own boxes exceed the image by rounding, so only what moves by more than a pixel is reported.
        is_clipped = (abs(boxes - clipped) > 1).any(axis=1) & (kind == 0)
        for row in np.flatnonzero(is_clipped).tolist():
            report.repairs[CLIPPED].append(self._annotation_ids[row])
        rows = np.flatnonzero((kind == 0) | is_kept)
        is_crowd = np.asarray(self._ignore_flags, np.bool_)[rows]
        report.crowds, report.used = int(is_crowd.sum()), int((~is_crowd).sum())
        report.images_without_objects = len(records) - len(np.unique(image[rows[~is_crowd]]))
        rows = rows[image[rows].argsort(kind="stable")]
        return {each.image_id: each for each in self._split(rows, image, clipped[rows], values[rows])}

    def _split(self, rows: Integers, image: Integers, boxes: Floats, values: Floats) -> Iterator[AnnotatedImage]:
        """Split rows (R,), which are in the order of the images, their boxes and values by image."""
        labels = np.asarray(self._labels, np.int64)[rows].tolist()
        ignore_flags = np.asarray(self._ignore_flags, np.int64)[rows].tolist()
        order = rows.tolist()
        ends = np.bincount(image[rows], minlength=len(self._image_records)).cumsum().tolist()
        for record, start, end in zip(self._image_records, [0, *ends], ends, strict=False):
            instances = ImageInstances(
                boxes=boxes[start:end].tobytes(),
                labels=labels[start:end],
                ignore_flags=ignore_flags[start:end],
                masks=self._pack_masks(order[start:end]),
            )
            yield AnnotatedImage(
                image_id=record["id"],
                height=record["height"],
                width=record["width"],
                instances=instances,
                boxes_and_areas=values[start:end].tobytes(),
                annotation_ids=[self._annotation_ids[row] for row in order[start:end]],
            )

    def _pack_masks(self, rows: Iterable[int]) -> list[Segmentation]:
        masks = [self._masks[row] for row in rows]
        return [mask if isinstance(mask, dict) else self._polygons.packed(mask) for mask in masks]

    def _measure(self, sizes: Integers) -> tuple[Floats, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """(A, 5) boxes x, y, width, height and areas; (A,) whether the file has no box; (A,) whether no pixel is set.

        Rasterising all masks would take minutes, so that is done only where it is in doubt whether there is a pixel.
        """
        values = np.array(self._boxes_and_areas).reshape(-1, 5)
        is_missing, is_empty = np.zeros((2, len(values)), np.bool_)
        is_missing[self._without_box] = True
        rows = np.flatnonzero(is_missing | self._are_in_doubt(sizes))
        boxes = self._boxes_of_masks(rows, sizes)
        is_empty[rows] = boxes[:, 2] == 0
        is_empty[self._empty_rles] = True
        boxes[:, 2:] -= boxes[:, :2]
        values[is_missing, :4] = boxes[is_missing[rows]]
        return values, is_missing, is_empty

    def _are_in_doubt(self, sizes: Integers) -> npt.NDArray[np.bool_]:
        """(A,) whether the mask is of polygons that are all thin or reach over the border of the image.

        A convex region of area A and perimeter P holds more than A - P / 2 points of a grid (Nosarzewska 1948), and
        P / 2 is at most the sum of its two extents: inside the image, what has more area than that has a pixel.
        """
        polygons, objects = self._polygons, [() if isinstance(mask, dict) else mask for mask in self._masks]
        owner = np.repeat(np.arange(len(objects)), np.fromiter(map(len, objects), np.int64, len(objects)))
        index = np.fromiter(chain.from_iterable(objects), np.int64, len(owner))
        lowest, highest, limit = polygons.lowest[index], polygons.highest[index], sizes[owner, ::-1]
        is_inside = (lowest >= -1) & (highest <= limit + 1) & (lowest <= limit - 1) & (highest >= 1)
        half_perimeter = (highest - lowest).sum(axis=1)
        is_certain = is_inside.all(axis=1) & (polygons.areas[index] > half_perimeter)
        has_polygons = np.bincount(owner, minlength=len(objects)) > 0
        return has_polygons & (np.bincount(owner, weights=is_certain, minlength=len(objects)) == 0)

    def _boxes_of_masks(self, rows: Integers, sizes: Integers) -> Floats:
        """(R, 4) tightest boxes x1 y1 x2 y2 of the masks of some rows, rasterised; zeros without a pixel."""
        boxes = np.zeros((len(rows), 4))
        by_size: dict[tuple[int, int], list[int]] = {}
        for position, (height, width) in enumerate(sizes[rows].tolist()):
            by_size.setdefault((height, width), []).append(position)
        for (height, width), positions in by_size.items():
            for start in range(0, len(positions), _MASKS_AT_ONCE):
                some = positions[start : start + _MASKS_AT_ONCE]
                masks = self._pack_masks(rows[some].tolist())
                boxes[some] = runs_from_segmentations(masks, height=height, width=width).tight_boxes()
        return boxes
