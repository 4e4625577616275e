"""Boundary AP: COCO's AP with min(mask IoU, Boundary IoU) of each pair in the place of mask IoU.

Mask IoU of a large object hardly sees its outline, since most pixels lie far inside. Boundary IoU (Cheng et al.,
"Boundary IoU: Improving Object-Centric Image Segmentation Evaluation", CVPR 2021) compares only the pixels of both
masks that are near their outlines.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as mask_api
from pycocotools.cocoeval import COCOeval

from solo.masks.column_runs import runs_from_bitmaps
from solo.masks.rle import RLE, decode_windows, encode_runs

WIDTH_OF_DIAGONAL = 0.02
"""Width of a boundary as a fraction of the diagonal of the image."""


def boundary_width(height: int, width: int) -> int:
    """Width of the boundary of a mask in an image of `height` x `width` pixels, in pixels."""
    return max(1, round(WIDTH_OF_DIAGONAL * math.hypot(height, width)))


def encode_boundaries(rles: Sequence[RLE]) -> list[RLE]:
    """Encode the boundary of each mask: its pixels that as many erosions as `boundary_width` by 3 x 3 pixels remove.

    What lies outside the image is background, so that the border of the image is part of the boundary. Masks are
    decoded one by one, each only where it has pixels.

    Args:
        rles: D masks of one size, `counts` as text or bytes.

    Raises:
        ValueError: a mask has another size than the first, or its text is no RLE of that size.
    """
    if not rles:
        return []
    height, width = rles[0]["size"]
    return encode_runs(runs_from_bitmaps(_boundary_windows(rles, height, width), height=height, width=width))


def _boundary_windows(rles: Sequence[RLE], height: int, width: int) -> Iterator[tuple[int, int, npt.NDArray[np.bool_]]]:
    """Left column, top row and pixels (h, w) of each boundary."""
    limit = boundary_width(height, width)
    for left, columns in decode_windows(rles, size=(height, width)):  # (H, w)
        rows = np.flatnonzero(columns.any(axis=1))
        top, bottom = (rows[0], rows[-1] + 1) if len(rows) else (0, 0)
        mask = columns[top:bottom]
        padded = np.pad(mask, 1).astype(np.uint8)
        # A pixel outlives n erosions if no background is within n pixels of it, diagonal steps included.
        distance = cv2.distanceTransform(padded, cv2.DIST_C, 3)[1:-1, 1:-1]
        yield left, int(top), mask & (distance <= limit)


class BoundaryEvaluator(COCOeval):
    """pycocotools' evaluation of masks by min(mask IoU, Boundary IoU).

    As in the implementation of the paper's authors a crowd is compared by the mask alone: the share of a detection that
    lies in it.
    """

    def computeIoU(self, imgId: Any, catId: Any) -> Any:  # noqa: N802, N803 - names of pycocotools
        """IoU (D, G) of the best detections of a class in an image with its objects, or [] without either."""
        ious = super().computeIoU(imgId, catId)
        if len(ious) == 0:
            return ious
        objects = self._gts[imgId, catId]
        detections = self._dts[imgId, catId]
        order = np.argsort([-each["score"] for each in detections], kind="mergesort")[: len(ious)]
        is_crowd = np.array([each["iscrowd"] for each in objects], bool)
        # The minimum of any other pair is below the lowest threshold too, whatever its boundary.
        matters = (ious >= min(self.params.iouThrs)) & ~is_crowd  # (D, G)
        rows, columns = np.flatnonzero(matters.any(axis=1)), np.flatnonzero(matters.any(axis=0))
        if len(rows):
            found = encode_boundaries([detections[order[row]]["segmentation"] for row in rows])
            wanted = encode_boundaries([objects[column]["segmentation"] for column in columns])
            pairs = np.ix_(rows, columns)
            ious[pairs] = np.minimum(ious[pairs], mask_api.iou(found, wanted, [0] * len(wanted)))
        return ious
