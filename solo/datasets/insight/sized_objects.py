"""The objects of an image as the network sees them at some input size, and how exactly stride 4 can hold them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from solo.datasets.coco.annotation_table import AnnotatedImage
from solo.datasets.insight.input_plan import SIDE_DIVISOR
from solo.masks.components import keep_largest_component
from solo.masks.encoding import encode_resized
from solo.masks.instance_masks import InstanceMasks
from solo.masks.mask_windows import MaskWindows, pack_windows, unpack_masks
from solo.masks.resize_taps import MASK_STRIDE
from solo.masks.rle import RLE, encode_masks
from solo.masks.transformed_runs import areas_and_centers, downsample_windows

_MASKS_AT_ONCE = 64
_MASK_THRESHOLD = 0.5

Floats = npt.NDArray[np.float32]


class SizedObjects(NamedTuple):
    """The N ordinary objects of an image at an input size. Coordinates are pixels of the resized image."""

    boxes: Floats  # (N, 4) x1 y1 x2 y2
    centers: Floats  # (N, 2) x y of the mass centres; NaN for an object without a pixel left
    areas: npt.NDArray[np.int64]  # (N,) pixels of the masks at stride 4 that training compares with
    ious: npt.NDArray[np.float64]  # (N,) of the annotated mask with the one that a perfect network predicts


class OrdinaryObjects(NamedTuple):
    """The N objects of an image that are no crowd regions, in pixels of the image."""

    boxes: npt.NDArray[np.float64]  # (N, 4) x1 y1 x2 y2
    masks: InstanceMasks  # N
    labels: npt.NDArray[np.int64]  # (N,)
    rles: list[RLE]  # N
    apart: npt.NDArray[np.float64]  # (N,) share of each mask's pixels outside of its largest connected component

    @classmethod
    def from_annotated(cls, image: AnnotatedImage) -> OrdinaryObjects:
        """Rasterise the objects of an image."""
        instances = image.instances
        kept = np.flatnonzero(np.asarray(instances.ignore_flags, np.int64) == 0)
        segmentations = [instances.masks[index] for index in kept]
        masks = InstanceMasks.from_segmentations(segmentations, height=image.height, width=image.width)
        rles, apart = [], [np.zeros(0)]
        for start in range(0, len(masks), _MASKS_AT_ONCE):
            bitmaps = masks[start : start + _MASKS_AT_ONCE].to_ndarray().astype(np.bool_)
            rles += encode_masks(bitmaps)
            areas = bitmaps.sum(axis=(1, 2))
            keep_largest_component(bitmaps, threshold=0)
            apart.append(1 - bitmaps.sum(axis=(1, 2)) / areas.clip(min=1))
        labels = np.asarray(instances.labels, np.int64)[kept]
        return cls(instances.box_array()[kept], masks, labels, rles, np.concatenate(apart))


def resize_objects(objects: OrdinaryObjects, size: tuple[int, int]) -> SizedObjects:
    """Resize the objects of an image as the training pipeline does, and downsample their masks as it does.

    Args:
        objects: The objects of an image of (height, width) pixels.
        size: (height, width) that the image is resized to.
    """
    original = objects.masks.height, objects.masks.width
    runs = objects.masks.resize(size).transformed_runs()
    _, centers = areas_and_centers(runs)
    windows = downsample_windows(runs, height=size[0], width=size[1], stride=MASK_STRIDE)
    # A window has the pixels of one mask, column by column, and nothing else.
    bounds = np.append(windows.starts, len(windows.pixels))
    counts = np.append(0, windows.pixels.cumsum())[bounds]
    mask_size = -(-size[0] // MASK_STRIDE), -(-size[1] // MASK_STRIDE)
    factors = np.array([size[1] / original[1], size[0] / original[0]] * 2)
    return SizedObjects(
        boxes=(objects.boxes * factors).astype(np.float32),
        centers=centers,
        areas=np.diff(counts),
        ious=_measure_ious(
            pack_windows(windows, size=mask_size), objects.rles, image_size=size, original_size=original
        ),
    )


def _measure_ious(
    masks: MaskWindows, truths: list[RLE], *, image_size: tuple[int, int], original_size: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """IoU (N,) of each annotated mask with its mask at stride 4, enlarged as the post-processing enlarges masks."""
    ious = np.zeros(len(truths))
    padded = tuple((side + -side % SIDE_DIVISOR) // MASK_STRIDE for side in image_size)
    for start in range(0, len(truths), _MASKS_AT_ONCE):
        some = slice(start, start + _MASKS_AT_ONCE)
        probabilities = unpack_masks([masks[some]], (padded[0], padded[1])).float()
        encoded = encode_resized(
            probabilities, image_size=image_size, original_size=original_size, threshold=_MASK_THRESHOLD
        )
        for index, (found, truth) in enumerate(zip(encoded.rles, truths[some], strict=True), start):
            ious[index] = coco_mask.iou([found], [truth], [0])[0, 0]
    return ious
