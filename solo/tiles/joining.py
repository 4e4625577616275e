"""Join the objects of overlapping tiles: those that a border cuts come out whole, and every object once.

In the zone that two tiles share both see the same pixels, so masks of one object agree there, however it is cut, and
masks of neighbours do not. Fragments of one class that agree in the zone (IoU of at least 0.5) show one object:

1. An object that a tile shows whole has the mask of that tile, of the best score among several; fragments that agree
   with it are dropped.
2. Fragments that no tile shows whole are united, best agreement first. Two objects of one tile are never united: the
   network told them apart, so a fragment that covers both of two touching objects does not connect them.
3. A fragment that is left over and lies mostly within a larger mask of another tile is a piece of that object.
4. One Matrix NMS (gaussian) over what overlaps across tiles; within a tile the network's own has done it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from solo.masks.column_runs import Integers
from solo.tiles.overlaps import Fragments, Overlaps

AGREEMENT = 0.5
"""Least IoU, within the zone that two tiles share, of two masks of one object."""

CONTAINED = 0.5
"""A leftover fragment with more than this share of its pixels within a larger mask is a piece of it."""

OUTSIDE = 0.25
"""A fragment with more than this share of its pixels outside the tile of a "whole" object shows that it goes on."""

NMS_SIGMA, MIN_SCORE = 2.0, 0.05
"""Of Matrix NMS, as SOLOv2 is configured."""


class Groups(NamedTuple):
    """D objects, by descending score, as groups of the F fragments that form their masks."""

    group: Integers  # (F,) object of each fragment, -1 for one that is dropped
    labels: npt.NDArray[np.int64]  # (D,)
    scores: npt.NDArray[np.float32]  # (D,)


def join_fragments(fragments: Fragments, overlaps: Overlaps) -> Groups:
    """Decide which fragments form which objects; see the module."""
    is_kept = fragments.areas > 0
    agreeing = overlaps.iou >= AGREEMENT
    _drop_shown_whole(fragments, overlaps, agreeing, is_kept)
    root = _unite(fragments, overlaps, agreeing, is_kept)
    _drop_contained(fragments, overlaps, root, is_kept)
    roots, group = np.unique(np.where(is_kept, root, -1), return_inverse=True)
    if len(roots) and roots[0] == -1:
        roots, group = roots[1:], group - 1
    scores = np.zeros(len(roots), np.float32)
    np.maximum.at(scores, group[is_kept], fragments.scores[is_kept])
    scores = _suppress(fragments, overlaps, group, scores)
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= min(MIN_SCORE, fragments.scores.min(initial=1))]
    rank = np.full(len(roots) + 1, -1)  # the last one for fragments without an object
    rank[order] = np.arange(len(order))
    return Groups(rank[group], fragments.labels[roots[order]], scores[order])


def _drop_shown_whole(
    fragments: Fragments, overlaps: Overlaps, agreeing: npt.NDArray[np.bool_], is_kept: npt.NDArray[np.bool_]
) -> None:
    """Drop what agrees with an object that a tile shows whole; of whole ones the best stays."""
    for whole, other, inside in _directed(overlaps, agreeing & (overlaps.common > 0), fragments.scores):
        if fragments.is_cut[whole]:
            continue
        if fragments.is_cut[other]:
            is_same = fragments.areas[other] - inside <= OUTSIDE * fragments.areas[other]
        else:
            is_same = bool(is_kept[whole]) and (fragments.scores[whole], -whole) > (fragments.scores[other], -other)
        is_kept[other] &= not is_same


def _directed(
    overlaps: Overlaps, selected: npt.NDArray[np.bool_], scores: npt.NDArray[np.float32]
) -> list[tuple[int, int, int]]:
    """Selected pairs in both directions, (fragment, other, pixels of the other in the zone), best fragments first."""
    first, second, inside = overlaps.first[selected], overlaps.second[selected], overlaps.inside[selected]
    one, other = np.concatenate([first, second]), np.concatenate([second, first])
    pixels = np.concatenate([inside[:, 1], inside[:, 0]])
    order = np.lexsort((one, -scores[one]))
    return list(zip(one[order].tolist(), other[order].tolist(), pixels[order].tolist(), strict=True))


def _unite(
    fragments: Fragments, overlaps: Overlaps, agreeing: npt.NDArray[np.bool_], is_kept: npt.NDArray[np.bool_]
) -> Integers:
    """Unite agreeing fragments, the best agreement first; returns a representative fragment of each (F,)."""
    root = np.arange(len(is_kept))
    groups: dict[int, list[int]] = {}
    tiles: dict[int, set[int]] = {}
    pairs = np.flatnonzero(agreeing & is_kept[overlaps.first] & is_kept[overlaps.second])
    for pair in pairs[np.argsort(-overlaps.iou[pairs], kind="stable")].tolist():
        one, other = int(root[overlaps.first[pair]]), int(root[overlaps.second[pair]])
        own = [tiles.setdefault(each, {int(fragments.tile[each])}) for each in (one, other)]
        if one == other or own[0] & own[1]:
            continue
        own[0] |= own[1]
        members = groups.pop(other, [other])
        groups.setdefault(one, [one]).extend(members)
        root[members] = one
    return root


def _drop_contained(fragments: Fragments, overlaps: Overlaps, root: Integers, is_kept: npt.NDArray[np.bool_]) -> None:
    """Drop single cut fragments that lie mostly within a larger mask of another tile."""
    sizes = np.bincount(root, minlength=len(root))[root]  # (F,) fragments of the object
    for one, other, common in _both(overlaps):
        is_single = fragments.is_cut[other] and sizes[other] == 1 and is_kept[other] and is_kept[one]
        is_larger = fragments.areas[one] > fragments.areas[other] or sizes[one] > 1
        if is_single and is_larger and common > CONTAINED * fragments.areas[other]:
            is_kept[other] = False


def _both(overlaps: Overlaps) -> list[tuple[int, int, int]]:
    first, second = overlaps.first.tolist(), overlaps.second.tolist()
    common = overlaps.common.tolist()
    return [*zip(first, second, common, strict=True), *zip(second, first, common, strict=True)]


def _suppress(
    fragments: Fragments, overlaps: Overlaps, group: Integers, scores: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Decay the scores (D,) by Matrix NMS over the pairs of objects that overlap across tiles."""
    areas = np.bincount(group[group >= 0], weights=fragments.areas[group >= 0], minlength=len(scores))
    one, other = group[overlaps.first], group[overlaps.second]
    used = (one >= 0) & (other >= 0) & (one != other) & (overlaps.common > 0)
    one, other, common = one[used], other[used], overlaps.common[used]
    iou = common / (areas[one] + areas[other] - common)
    swapped = scores[one] < scores[other]
    better, worse = np.where(swapped, other, one), np.where(swapped, one, other)
    compensation = np.zeros(len(scores))
    np.maximum.at(compensation, worse, iou)
    decay = np.ones(len(scores))
    np.minimum.at(decay, worse, np.exp(-NMS_SIGMA * (iou**2 - compensation[better] ** 2)))
    return (scores * np.minimum(decay, 1)).astype(np.float32)
