"""Which objects a grid of cells cannot learn or detect at an input size, and why, by the rules of the assigner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from solo.datasets.insight.input_plan import InputPlan
from solo.datasets.insight.sized_objects import SizedObjects
from solo.masks.resize_taps import MASK_STRIDE
from solo.models.assigner import GridAssigner

VANISHED = "no pixel at stride 4"
OUT_OF_RANGE = "outside scale_ranges"
FILTERED = "removed by the area filter"
COLLIDED = "cells taken by other objects"
OVER_LIMIT = "beyond max_per_img, nms_pre or max_dets"
REASONS = (VANISHED, OUT_OF_RANGE, FILTERED, COLLIDED, OVER_LIMIT)
"""Why an object is lost; of several reasons the first one counts."""

KEPT = -1
IOU_THRESHOLDS = np.arange(0.5, 0.96, 0.05)  # of COCO's AP

Integers = npt.NDArray[np.int64]


class Limits(NamedTuple):
    """What bounds the detections of an image, and removes small ones."""

    min_area_factor: float
    nms_pre: int
    max_per_img: int
    max_dets: int

    @property
    def detections(self) -> int:
        """The most objects of an image that can be detected and count."""
        return min(self.nms_pre, self.max_per_img, self.max_dets)


@dataclass(frozen=True, kw_only=True)
class ObjectLosses:
    """What becomes of N objects of some images at an input size.

    Attributes:
        reasons: (N,) index in `REASONS`, or `KEPT`.
        levels: (N,) finest level whose scale range holds the object, -1 for none.
        ious: (N,) IoU of the annotated mask with the mask of a network that makes no mistake.
        areas: (N,) pixels of the masks at stride 4.
    """

    reasons: Integers
    levels: Integers
    ious: npt.NDArray[np.float64]
    areas: Integers

    def share(self, reason: str) -> float:
        """Share of the objects that are lost for a reason."""
        return float((self.reasons == REASONS.index(reason)).mean()) if len(self.reasons) else 0.0

    @property
    def lost(self) -> float:
        """Share of the objects that are lost."""
        return float((self.reasons != KEPT).mean()) if len(self.reasons) else 0.0

    @property
    def reachable_ap(self) -> float:
        """Bound of the mask AP: mean over COCO's IoU thresholds of the share of objects that can be found that well.

        The AP of a network that makes no mistake, for which precision is 1 up to the largest recall.
        """
        ious = np.where(self.reasons == KEPT, self.ious, 0.0)
        return float((ious[:, None] >= IOU_THRESHOLDS).mean()) if len(ious) else 0.0


def find_losses(
    images: Sequence[tuple[tuple[int, int], SizedObjects]],
    *,
    plan: InputPlan,
    assigner: GridAssigner,
    limits: Limits,
) -> ObjectLosses:
    """Decide for every object whether it can be learned and detected.

    With tiles, each object is looked at in one tile of a partition of the image, with all objects whose mass centre
    lies in that tile.

    Args:
        images: (height, width) of each image before it is resized, and its objects at the plan's scale.
        plan: The input size.
        assigner: With its grid: decides which cells are positive, and which object wins a shared one.
        limits: Of the post-processing and the evaluation.
    """
    boxes = np.concatenate([np.zeros((0, 4), np.float32), *(objects.boxes for _, objects in images)])
    centers = np.concatenate([np.zeros((0, 2), np.float32), *(objects.centers for _, objects in images)])
    areas = np.concatenate([np.zeros(0, np.int64), *(objects.areas for _, objects in images)])
    ious = np.concatenate([np.zeros(0), *(objects.ious for _, objects in images)])
    image = np.repeat(np.arange(len(images)), [len(objects.areas) for _, objects in images])  # (N,)
    sizes = np.array([plan.input_size(*size) for size, _ in images], np.int64).reshape(-1, 2)

    boxes, centers, group = _cut_into_tiles(boxes, centers, image, tile=plan.tile)
    has_level, levels, owns_cell = _match(boxes, centers, group, sizes[image], assigner=assigner)
    strides = np.array(assigner.grid.strides)
    is_small = areas <= limits.min_area_factor * strides[levels.clip(min=0)]
    # Objects of an image are ordered by area: the limits cut the smallest, which score worst.
    is_over = _rank(image, -areas) >= limits.detections
    lost = [areas == 0, ~has_level, is_small, ~owns_cell, is_over]  # in the order of REASONS
    reasons = np.select(lost, range(len(REASONS)), KEPT)
    return ObjectLosses(reasons=reasons, levels=levels, ious=ious, areas=areas)


def _cut_into_tiles(
    boxes: npt.NDArray[np.float32], centers: npt.NDArray[np.float32], image: Integers, *, tile: int | None
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], Integers]:
    """Boxes (N, 4) and centres (N, 2) in the frame of the object's tile, and the index (N,) of that tile."""
    if tile is None:
        return boxes, centers, image
    corner = np.floor(np.nan_to_num(centers) / tile)  # (N, 2) column and row of the tile
    _, group = np.unique(np.column_stack([image, corner]), axis=0, return_inverse=True)
    offset = (corner * tile).astype(np.float32)
    return boxes - np.tile(offset, 2), centers - offset, group.reshape(-1)


def _match(
    boxes: npt.NDArray[np.float32],
    centers: npt.NDArray[np.float32],
    group: Integers,
    sizes: Integers,
    *,
    assigner: GridAssigner,
) -> tuple[npt.NDArray[np.bool_], Integers, npt.NDArray[np.bool_]]:
    """(N,) whether a level takes the object, the finest of these or -1, and whether a cell has the object's label.

    `group` (N,) is the input that holds the object, `sizes` (N, 2) its height and width.
    """
    grid = assigner.grid
    takes_part = np.zeros(len(boxes), np.bool_)
    levels, owns_cell = np.full(len(boxes), -1), takes_part.copy()
    for height, width in np.unique(sizes, axis=0).tolist():
        rows = np.flatnonzero((sizes == (height, width)).all(axis=1))
        is_positive, cells = assigner.match(boxes[rows], centers[rows], (height // MASK_STRIDE, width // MASK_STRIDE))
        on_level: npt.NDArray[np.bool_] = is_positive.reshape(len(rows), grid.num_levels, -1).max(axis=2)  # (n, L)
        takes_part[rows] = on_level.max(axis=1)
        levels[rows] = np.where(takes_part[rows], on_level.argmax(axis=1), -1)
        where = is_positive.nonzero()
        inputs, index = np.unique(group[rows], return_inverse=True)
        positives = np.array([index[where[0]], cells[where], where[0]])  # (3, P) input, cell, object
        claims = assigner.sort_by_priority(positives, boxes[rows])
        owners = np.full((len(inputs), grid.num_cells), -1)
        owners[claims[0], claims[1]] = claims[2]  # as in the assigner, the last of repeated indices stays
        owns_cell[rows[np.unique(owners[owners >= 0])]] = True
    return takes_part, levels, owns_cell


def _rank(group: Integers, keys: Integers) -> Integers:
    """(N,) rank, from 0, of each entry within its group by ascending key."""
    order = np.lexsort((keys, group))
    ranks = np.empty(len(group), np.int64)
    ranks[order] = np.arange(len(group)) - np.searchsorted(group[order], group[order])
    return ranks
