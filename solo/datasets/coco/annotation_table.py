"""The annotations of a whole file in columns: the rules of boxes and masks, applied to all at once."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from solo.datasets.coco.instance_table import ImageInstances
from solo.datasets.coco.polygons import CheckedPolygons, Floats
from solo.datasets.coco.report import CLIPPED, AnnotationReport
from solo.masks.segmentations import EMPTY, runs_from_segmentations

ZERO_AREA = "box of zero area"
OUTSIDE = "box outside the image"

Integers = npt.NDArray[np.int64]
_MASKS_AT_ONCE = 500


class AnnotatedImage(NamedTuple):
    """An image and its usable annotations, as an evaluation and the tools need them.

    Attributes:
        image_id: As in the file.
        height: Height in pixels.
        width: Width in pixels.
        instances: The N instances, their boxes clipped to the image.
        boxes_and_areas: (N, 5) x, y, width and height as in the file, and area, in pixels, as the bytes of float64.
            NaN where the file has no readable area.
        annotation_ids: The N ids in the file; empty where they are not kept.
    """

    image_id: Any
    height: int
    width: int
    instances: ImageInstances
    boxes_and_areas: bytes
    annotation_ids: Sequence[Any] = ()

    def measures(self) -> Floats:
        """(N, 5) x, y, width and height as in the file, and area; a missing area is counted in the mask."""
        values = np.frombuffer(self.boxes_and_areas).reshape(-1, 5).copy()
        missing = np.flatnonzero(np.isnan(values[:, 4]))
        if len(missing):
            masks = [self.instances.masks[row] for row in missing]
            values[missing, 4] = runs_from_segmentations(masks, height=self.height, width=self.width).areas()
        return values


class AnnotationTable:
    """Collects the annotations of all images, a row each.

    Columns, because a dict for each of some hundred thousand annotations, scattered over the memory, takes longer to
    visit again than it took to fill.
    """

    def __init__(self, images: Sequence[Mapping[str, Any]]) -> None:
        """Begin with no row.

        Args:
            images: The image records, with `id`, `height` and `width`.
        """
        self._image_records = images
        self._images = array("q")
        self._boxes_and_areas = array("d")
        self._without_box: list[int] = []
        self._labels = array("q")
        self._ignore_flags = array("q")
        self._masks: list[dict[str, Any] | Sequence[int]] = []
        self._empty_rles: list[int] = []
        self._annotation_ids: list[Any] = []

    def append(
        self,
        *,
        annotation_id: Any,
        image: int,
        label: int,
        is_crowd: bool,
        box: list[float] | None,
        area: float,
        mask: dict[str, Any] | Sequence[int],
        has_pixel: bool = True,
    ) -> None:
        """Add a row.

        Args:
            annotation_id: As in the file, for the report.
            image: Index of the image.
            label: Index of the class.
            is_crowd: Whether it is a crowd region.
            box: x, y, width, height in pixels; None takes that of the mask.
            area: Area in pixels, NaN where it is not known.
            mask: An RLE, or the indices of polygons.
            has_pixel: False for an RLE without a pixel; polygons are examined in `check`.
        """
        if not has_pixel:
            self._empty_rles.append(len(self._images))
        if box is None:
            self._without_box.append(len(self._images))
            box = [0.0] * 4
        self._images.append(image)
        self._boxes_and_areas.fromlist([*box, area])
        self._labels.append(label)
        self._ignore_flags.append(int(is_crowd))
        self._masks.append(mask)
        self._annotation_ids.append(annotation_id)

    def check(
        self, polygons: CheckedPolygons, report: AnnotationReport, *, for_evaluation: bool = False
    ) -> dict[Any, AnnotatedImage]:
        """Check boxes and masks, and count in the report what is left out, clipped and used.

        Args:
            polygons: Those of all rows.
            report: The report of the file.
            for_evaluation: Keep objects that have no pixel or whose box covers nothing of the image.

        Returns:
            Image id -> the image with its usable annotations, both in the order of the file.
        """
        image = np.asarray(self._images, np.int64)  # (A,)
        records = self._image_records
        sizes = np.array([(record["height"], record["width"]) for record in records], np.int64).reshape(-1, 2)
        values, is_missing, is_empty = self._measure(polygons, sizes[image])
        boxes = np.concatenate([values[:, :2], values[:, :2] + values[:, 2:4]], axis=1)  # (A, 4) x1 y1 x2 y2
        limits = sizes[image][:, [1, 0, 1, 0]]  # (A, 4)
        clipped = np.clip(boxes, 0, limits)
        is_sound = (values[:, 2:4] > 0).all(axis=1) & (boxes[:, 2:] < np.inf).all(axis=1)
        is_outside = (clipped[:, 2:] <= clipped[:, :2]).any(axis=1)
        kinds = ("", EMPTY, ZERO_AREA, OUTSIDE)
        kind = np.select([is_missing & is_empty, ~is_sound, is_outside, is_empty], [1, 2, 3, 1], 0)  # (A,)
        # pycocotools keeps what nothing can match: it lowers the recall.
        is_comparable = np.isfinite(values[:, :4]).all(axis=1) & (values[:, 2:4] >= 0).all(axis=1)
        is_kept = np.asarray(is_comparable & for_evaluation, np.bool_)  # (A,)
        for row in np.flatnonzero(kind).tolist():
            add = report.add_repair if is_kept[row] else report.add_problem
            add(kinds[kind[row]], self._annotation_ids[row])
        # COCO's own boxes exceed the image by rounding, so only what moves by more than a pixel is reported.
        is_clipped = (abs(boxes - clipped) > 1).any(axis=1) & (kind == 0)
        for row in np.flatnonzero(is_clipped).tolist():
            report.add_repair(CLIPPED, self._annotation_ids[row])
        rows = np.flatnonzero((kind == 0) | is_kept)
        is_crowd = np.asarray(self._ignore_flags, np.bool_)[rows]
        report.crowds, report.used = int(is_crowd.sum()), int((~is_crowd).sum())
        report.images_without_objects = len(records) - len(np.unique(image[rows[~is_crowd]]))
        rows = rows[image[rows].argsort(kind="stable")]
        found = self._rows_of_images(rows, image, clipped[rows], values[rows], polygons)
        return {image.image_id: image for image in found}

    def _rows_of_images(
        self, rows: Integers, image: Integers, boxes: Floats, values: Floats, polygons: CheckedPolygons
    ) -> Iterator[AnnotatedImage]:
        """The images of some rows (R,), which are in the order of the images, with their boxes and values."""
        labels = np.asarray(self._labels, np.int64)[rows].tolist()
        ignore_flags = np.asarray(self._ignore_flags, np.int64)[rows].tolist()
        order = rows.tolist()
        ends = np.bincount(image[rows], minlength=len(self._image_records)).cumsum().tolist()
        for record, start, end in zip(self._image_records, [0, *ends], ends, strict=False):
            masks = [self._masks[row] for row in order[start:end]]
            instances = ImageInstances(
                boxes=boxes[start:end].tobytes(),
                labels=labels[start:end],
                ignore_flags=ignore_flags[start:end],
                masks=[mask if isinstance(mask, dict) else polygons.packed(mask) for mask in masks],
            )
            yield AnnotatedImage(
                image_id=record["id"],
                height=record["height"],
                width=record["width"],
                instances=instances,
                boxes_and_areas=values[start:end].tobytes(),
                annotation_ids=[self._annotation_ids[row] for row in order[start:end]],
            )

    def _measure(
        self, polygons: CheckedPolygons, sizes: Integers
    ) -> tuple[Floats, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """(A, 5) boxes x, y, width, height and areas; (A,) whether the file has no box; (A,) whether no pixel is set.

        Rasterising all masks would take minutes, so that is done only where it is in doubt whether there is a pixel.
        """
        values = np.array(self._boxes_and_areas).reshape(-1, 5)
        is_missing, is_empty = np.zeros((2, len(values)), np.bool_)
        is_missing[self._without_box] = True
        rows = np.flatnonzero(is_missing | self._are_in_doubt(polygons, sizes))
        boxes = self._boxes_of_masks(rows, polygons, sizes)
        is_empty[rows] = boxes[:, 2] == 0
        is_empty[self._empty_rles] = True
        boxes[:, 2:] -= boxes[:, :2]
        values[is_missing, :4] = boxes[is_missing[rows]]
        return values, is_missing, is_empty

    def _are_in_doubt(self, polygons: CheckedPolygons, sizes: Integers) -> npt.NDArray[np.bool_]:
        """(A,) whether the mask is of polygons that are all thin or reach over the border of the image.

        A convex region of area A and perimeter P holds more than A - P / 2 points of a grid (Nosarzewska 1948), and
        P / 2 is at most the sum of its two extents: inside the image, what has more area than that has a pixel.
        """
        objects = [() if isinstance(mask, dict) else mask for mask in self._masks]
        owner = np.repeat(np.arange(len(objects)), np.fromiter(map(len, objects), np.int64, len(objects)))
        index = np.fromiter(chain.from_iterable(objects), np.int64, len(owner))
        lowest, highest, limit = polygons.lowest[index], polygons.highest[index], sizes[owner, ::-1]
        is_inside = (lowest >= -1) & (highest <= limit + 1) & (lowest <= limit - 1) & (highest >= 1)
        half_perimeter = (highest - lowest).sum(axis=1)
        is_certain = is_inside.all(axis=1) & (polygons.areas[index] > half_perimeter)
        has_polygons = np.bincount(owner, minlength=len(objects)) > 0
        return has_polygons & (np.bincount(owner, weights=is_certain, minlength=len(objects)) == 0)

    def _boxes_of_masks(self, rows: Integers, polygons: CheckedPolygons, sizes: Integers) -> Floats:
        """(R, 4) tightest boxes x1 y1 x2 y2 of the masks of some rows, rasterised; zeros without a pixel."""
        boxes = np.zeros((len(rows), 4))
        by_size: dict[tuple[int, int], list[int]] = {}
        for position, (height, width) in enumerate(sizes[rows].tolist()):
            by_size.setdefault((height, width), []).append(position)
        for (height, width), positions in by_size.items():
            for start in range(0, len(positions), _MASKS_AT_ONCE):
                some = positions[start : start + _MASKS_AT_ONCE]
                found = [self._masks[row] for row in rows[some].tolist()]
                masks = [mask if isinstance(mask, dict) else polygons.packed(mask) for mask in found]
                boxes[some] = runs_from_segmentations(masks, height=height, width=width).tight_boxes()
        return boxes
