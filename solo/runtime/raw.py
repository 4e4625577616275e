"""Decodes the outputs of contract "raw" of one image, in numpy: what `solo.models.postprocess` does with tensors.

Cells are decoded by descending class score and only until the detections are final: a score is class score times
maskness, so at most the class score, and Matrix NMS only lowers it by better candidates.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from solo.runtime.metadata import PostprocessSettings

STEP_BYTES = 6 * 2**20
"""Of the mask logits that are computed at once."""

MASKNESS_LIMIT = 1 + 1e-5
"""The largest maskness, with room for the rounding of a mean."""

Floats = npt.NDArray[np.float32]


class Detections(NamedTuple):
    """D detections of an image by descending score."""

    labels: npt.NDArray[np.int64]  # (D,)
    scores: Floats  # (D,)
    probabilities: Floats  # (D, h, w) at stride 4


class Candidates(NamedTuple):
    """Cells and classes with their scores; `rows` indexes the decoded cells."""

    scores: npt.NDArray[Any]  # (N,) float32
    labels: npt.NDArray[Any]  # (N,) int64
    rows: npt.NDArray[Any]  # (N,) int64

    def take(self, index: npt.NDArray[Any] | slice) -> Candidates:
        """Select candidates."""
        return Candidates(*(field[index] for field in self))


# exp(100) is infinite in float32, and 1 / inf the right 0; masks of kernels that overflow are NaN, which is outside.
@np.errstate(over="ignore", invalid="ignore")
def decode_raw(cls_logits: Floats, kernels: Floats, mask_feats: Floats, settings: PostprocessSettings) -> Detections:
    """Decode the outputs of an image: (S, C), (S, K) and (E, h, w)."""
    scores = points_nms(sigmoid(cls_logits), settings.num_grids)  # (S, C)
    min_areas = settings.min_area_factor * np.repeat(settings.strides, np.square(settings.num_grids))  # (S,)
    best = np.nan_to_num(scores).max(axis=1)
    cells = np.flatnonzero(best > settings.score_thr)
    cells = cells[np.argsort(-best[cells], kind="stable")]
    features = neighbourhoods(mask_feats, kernels.shape[1] // len(mask_feats))  # (K, h * w)
    found = Candidates(*(np.zeros(0, kind) for kind in (np.float32, np.int64, np.int64)))
    masks = np.zeros((len(cells), -(-features.shape[1] // 8)), np.uint8)  # of decoded cells, eight pixels a byte
    step, next_check = max(1, STEP_BYTES // (4 * features.shape[1])), settings.max_detections
    for start in range(0, len(cells), step):
        bound = best[cells[start]] * MASKNESS_LIMIT
        final = found.take(found.scores > bound)
        if len(final.scores) >= settings.nms_pre:
            break
        if len(final.scores) >= next_check:
            missing = settings.max_detections - int((matrix_nms(masks, final, settings) > bound).sum())
            if missing <= 0:
                found = final
                break
            next_check = len(final.scores) + max(missing, len(final.scores) // 2)
        chunk = cells[start : start + step]
        masks[start : start + step], areas, maskness = binarise(kernels[chunk] @ features, settings.mask_thr)
        factors = np.where(areas > min_areas[chunk], maskness, 0)
        rows, labels = np.nonzero(scores[chunk] > settings.score_thr)
        new = Candidates(scores[chunk[rows], labels] * factors[rows], labels, rows + start).take(factors[rows] > 0)
        found = Candidates(*map(np.concatenate, zip(found, new, strict=True)))
        found = found.take(np.lexsort((found.labels, cells[found.rows], -found.scores))[: settings.nms_pre])
    decayed = matrix_nms(masks, found, settings)
    order = np.argsort(-decayed, kind="stable")[: settings.max_detections]
    kept = order[decayed[order] >= settings.filter_thr]
    probabilities = sigmoid(kernels[cells[found.rows[kept]]] @ features).reshape(len(kept), *mask_feats.shape[1:])
    return Detections(found.labels[kept], decayed[kept], probabilities)


def sigmoid(logits: Floats) -> Floats:
    """Probabilities of logits."""
    result: Floats = np.exp(-logits)
    result += 1
    return np.reciprocal(result, out=result)


def binarise(logits: Floats, threshold: float) -> tuple[npt.NDArray[np.uint8], npt.NDArray[Any], Floats]:
    """Masks (n, bytes) packed to bits, areas (n,) and mean probabilities inside (n,) of mask logits (n, h * w)."""
    inside = logits > logit(threshold)
    areas = inside.sum(axis=1)
    sums = np.array([sigmoid(row[mask]).sum() for row, mask in zip(logits, inside, strict=True)], np.float32)
    return np.packbits(inside, axis=1), areas, sums / areas.clip(min=1).astype(np.float32)


def logit(probability: float) -> np.float32:
    """The logit of a probability; infinite for 0 and from 1 on."""
    with np.errstate(divide="ignore"):
        return np.float32(np.log(probability) - np.log(max(0.0, 1 - probability)))


def points_nms(scores: Floats, num_grids: tuple[int, ...]) -> Floats:
    """Zero the scores (S, C) that are smaller than the one above, left, or above-left of them, level by level."""
    levels = []
    for level, side in zip(np.split(scores, np.cumsum(np.square(num_grids))[:-1]), num_grids, strict=True):
        grid = level.reshape(side, side, -1)
        best = grid.copy()
        best[1:] = np.maximum(grid[1:], grid[:-1])
        best[:, 1:] = np.maximum(best[:, 1:], best[:, :-1].copy())
        levels.append(np.where(best == grid, grid, 0).reshape(level.shape))
    return np.concatenate(levels)


def neighbourhoods(mask_feats: Floats, weights: int) -> Floats:
    """(E, h, w) to (K, h * w): the features that a kernel of `weights` = k * k numbers a channel reads at a pixel."""
    if weights > 1:
        side = round(weights**0.5)
        padded = np.pad(mask_feats, [(0, 0), (side // 2, side // 2), (side // 2, side // 2)])
        windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(1, 2))  # (E, h, w, k, k)
        mask_feats = windows.transpose(0, 3, 4, 1, 2)
    return np.ascontiguousarray(mask_feats).reshape(mask_feats.shape[0] * weights, -1)


def matrix_nms(masks: npt.NDArray[Any], candidates: Candidates, settings: PostprocessSettings) -> Floats:
    """Decayed scores (N,) of candidates by descending score; masks (cells, bytes) are packed to bits."""
    decay = np.ones(len(candidates.scores), np.float32)
    if masks.shape[1] % 8 == 0:
        masks = masks.view(np.uint64)
    for label in np.unique(candidates.labels):
        members = np.flatnonzero(candidates.labels == label)
        own = masks[candidates.rows[members]]
        areas = np.bitwise_count(own).sum(axis=1, dtype=np.int64)
        overlap = np.zeros((len(members), len(members)), np.float32)  # row i: of the better i with the worse j
        for i in range(len(members) - 1):
            common = np.bitwise_count(own[i] & own[i + 1 :]).sum(axis=1, dtype=np.int64)
            overlap[i, i + 1 :] = common / (areas[i] + areas[i + 1 :] - common).clip(min=1)
        compensation = overlap.max(axis=0)[:, None]
        if settings.nms_kernel == "gaussian":
            factors = np.exp(-np.float32(settings.nms_sigma) * (overlap**2 - compensation**2))
        else:
            factors = (1 - overlap) / (1 - compensation).clip(min=np.finfo(np.float32).eps)
        decay[members] = factors.min(axis=0)
    return candidates.scores * decay
