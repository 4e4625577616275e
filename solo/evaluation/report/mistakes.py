"""What is wrong in each image: missed objects, false detections, several objects in one mask, one object in several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from solo.datasets.coco.annotation_table import AnnotatedImage
from solo.evaluation.detections import ImageDetections
from solo.evaluation.report.measures import MATCH_IOU, Matches
from solo.masks.rle import RLE, encode_runs
from solo.masks.segmentations import runs_from_segmentations

MOST = 0.5
"""Share of a mask's pixels from which it lies in, or covers, another one."""

MIN_PIECE = 0.1
"""Share of an object that a mask has to cover to be a piece of it."""

TOUCHING = 0.1
"""IoU from which a false detection has to do with an object, as in TIDE."""


@dataclass(frozen=True, kw_only=True)
class ImageMistakes:
    """The mistakes in an image, by detections from a score up.

    Attributes:
        image_id: as in the annotation file.
        size: (height, width), pixels.
        objects: RLEs of the N ordinary objects.
        detections: RLEs of the D detections that count and reach the score.
        missed: (N,) bool.
        false: (D,) bool.
        kinds: how many mistakes of each kind; they count each missed object and each false detection once.
        merged: (label, number of objects in the mask) of each mask that covers several objects.
        split: (label, number of masks in the object) of each object that several masks share.
    """

    image_id: Any
    size: tuple[int, int]
    objects: list[RLE]
    detections: list[RLE]
    missed: np.ndarray
    false: np.ndarray
    kinds: Counter[str]
    merged: list[tuple[int, int]]
    split: list[tuple[int, int]]

    @property
    def total(self) -> int:
        """Number of missed objects and false detections."""
        return int(self.missed.sum() + self.false.sum())


def find_mistakes(
    images: Sequence[AnnotatedImage],
    detections: Sequence[ImageDetections],
    matches: Matches,
    *,
    threshold: float,
) -> list[ImageMistakes]:
    """Find the mistakes of every image.

    Args:
        images: with their objects.
        detections: in the order of `matches`.
        matches: of the same detections.
        threshold: lowest score of a detection that counts.
    """
    by_id = {image.image_id: image for image in images}
    return [
        _image_mistakes(by_id[detected.image_id], detected, found_by, correct, counts & (detected.scores >= threshold))
        for detected, found_by, correct, counts in zip(
            detections, matches.found_by, matches.is_correct, matches.counts, strict=True
        )
    ]


def _image_mistakes(
    image: AnnotatedImage, detected: ImageDetections, found_by: np.ndarray, correct: np.ndarray, kept: np.ndarray
) -> ImageMistakes:
    ordinary = np.flatnonzero(np.array(image.instances.ignore_flags, np.int64) == 0)
    rows = np.flatnonzero(kept)
    masks = [image.instances.masks[row] for row in ordinary]
    objects = encode_runs(runs_from_segmentations(masks, height=image.height, width=image.width)) if masks else []
    found = detected.select(kept)
    overlap = _Overlap(objects, found.encodings())
    object_labels = np.array(image.instances.labels, np.int64)[ordinary]
    finder = np.where(np.isin(found_by[ordinary], rows), np.searchsorted(rows, found_by[ordinary]), -1)  # (N,) in found
    missed, false = finder < 0, ~correct[rows]
    same = object_labels[:, None] == found.labels[None, :]  # (N, D)
    merged = _merged(overlap, same, finder)
    split = _split(overlap, same, found.scores)
    kinds = _name_missed(overlap, same, missed, merged) + _name_false(overlap, same, false, merged, split)
    return ImageMistakes(
        image_id=image.image_id,
        size=(image.height, image.width),
        objects=objects,
        detections=found.encodings(),
        missed=missed,
        false=false,
        kinds=kinds,
        merged=[(int(found.labels[mask]), len(members)) for mask, members in merged.items()],
        split=[(int(object_labels[row]), len(pieces)) for row, pieces in split.items()],
    )


class _Overlap:
    """Pixels that N objects and D masks share.

    Attributes:
        common: (N, D) pixels of both.
        of_object: (N, D) share of the object.
        of_mask: (N, D) share of the mask.
        iou: (N, D).
        objects, masks: (N, N) and (D, D) pixels of both as a share of the smaller one.
    """

    def __init__(self, objects: list[RLE], masks: list[RLE]) -> None:
        sizes = [_areas(objects), _areas(masks)]
        self.common = _common(objects, masks)
        self.of_object = self.common / np.maximum(sizes[0], 1)[:, None]
        self.of_mask = self.common / np.maximum(sizes[1], 1)[None, :]
        self.iou = self.common / np.maximum(sizes[0][:, None] + sizes[1][None, :] - self.common, 1)
        self.objects = _common(objects, objects) / np.maximum(np.minimum.outer(sizes[0], sizes[0]), 1)
        self.masks = _common(masks, masks) / np.maximum(np.minimum.outer(sizes[1], sizes[1]), 1)


def _areas(rles: list[RLE]) -> np.ndarray:
    return np.asarray(mask_api.area(rles), np.float64).reshape(-1) if rles else np.zeros(0)


def _common(first: list[RLE], second: list[RLE]) -> np.ndarray:
    """(F, S) pixels that masks share: against a crowd, pycocotools divides by the first mask alone."""
    if not first or not second:
        return np.zeros((len(first), len(second)))
    return np.asarray(mask_api.iou(first, second, [1] * len(second))) * _areas(first)[:, None]


def _merged(overlap: _Overlap, same: np.ndarray, finder: np.ndarray) -> dict[int, list[int]]:
    """Mask -> at least two objects of its class that lie mostly in it, and of which no other mask is found.

    An object within another one does not count beside it: a mask of the outer one is no mask of two.
    """
    merged = {}
    for mask in range(same.shape[1]):
        inside = np.flatnonzero(same[:, mask] & (overlap.of_object[:, mask] > MOST))
        inside = inside[(finder[inside] < 0) | (finder[inside] == mask)]
        members = _disjoint(inside[np.argsort(-overlap.common[inside, mask], kind="stable")], overlap.objects)
        if len(members) > 1:
            merged[mask] = members
    return merged


def _split(overlap: _Overlap, same: np.ndarray, scores: np.ndarray) -> dict[int, list[int]]:
    """Object -> at least two masks of its class that lie mostly in it, beside each other."""
    split = {}
    for row in range(same.shape[0]):
        is_piece = same[row] & (overlap.of_mask[row] > MOST) & (overlap.of_object[row] > MIN_PIECE)
        pieces = np.flatnonzero(is_piece)
        pieces = pieces[np.argsort(-scores[pieces], kind="stable")]
        members = _disjoint(pieces, overlap.masks)
        if len(members) > 1:
            split[row] = members
    return split


def _disjoint(candidates: np.ndarray, shares: np.ndarray) -> list[int]:
    """Candidates in their order, without those that overlap an earlier one by more than half of the smaller one."""
    chosen: list[int] = []
    for candidate in candidates.tolist():
        if all(shares[candidate, other] <= MOST for other in chosen):
            chosen.append(candidate)
    return chosen


def _name_missed(overlap: _Overlap, same: np.ndarray, missed: np.ndarray, merged: dict[int, list[int]]) -> Counter[str]:
    in_merged = {row for members in merged.values() for row in members}
    kinds: Counter[str] = Counter()
    for row in np.flatnonzero(missed).tolist():
        if row in in_merged:
            kinds["missed, in a mask with others"] += 1
        elif (overlap.iou[row][~same[row]] >= MATCH_IOU).any():
            kinds["missed, found as another class"] += 1
        elif (overlap.iou[row][same[row]] >= TOUCHING).any():
            kinds["missed by a poor mask"] += 1
        else:
            kinds["missed without a mask"] += 1
    return kinds


def _name_false(
    overlap: _Overlap,
    same: np.ndarray,
    false: np.ndarray,
    merged: dict[int, list[int]],
    split: dict[int, list[int]],
) -> Counter[str]:
    pieces = {mask for members in split.values() for mask in members}
    kinds: Counter[str] = Counter()
    for mask in np.flatnonzero(false).tolist():
        iou, own = overlap.iou[:, mask], same[:, mask]
        if mask in merged:
            kinds["mask of several objects"] += 1
        elif mask in pieces:
            kinds["piece of an object"] += 1
        elif (iou[own] >= MATCH_IOU).any():
            kinds["duplicate"] += 1
        elif (iou[~own] >= MATCH_IOU).any():
            kinds["wrong class"] += 1
        elif (iou >= TOUCHING).any():
            kinds["poor mask"] += 1
        else:
            kinds["on background"] += 1
    return kinds
