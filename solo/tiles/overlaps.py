"""Which masks of neighbouring tiles show the same object: their overlaps where both tiles see the same pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from solo.masks.column_runs import ColumnRuns, Integers
from solo.masks.rle import RLE, decode_counts, runs_from_counts
from solo.masks.transformed_runs import TransformedRuns, rasterise_windows
from solo.tiles.layout import Layout, Window

_BOTH_EDGES = np.array([[0], [1]])


class TileObjects(NamedTuple):
    """n objects found in a tile; masks are those of the tile, in pixels of the image."""

    labels: npt.NDArray[np.int64]  # (n,)
    scores: npt.NDArray[np.float32]  # (n,)
    rles: Sequence[RLE]


class Fragments(NamedTuple):
    """The objects of all tiles of an image, F in all, tile after tile."""

    labels: npt.NDArray[np.int64]  # (F,)
    scores: npt.NDArray[np.float32]  # (F,)
    tile: Integers  # (F,) ascending
    boxes: Integers  # (F, 4) x1 y1 x2 y2 in pixels of the image, x2 and y2 exclusive; zeros without a pixel
    areas: Integers  # (F,)
    is_cut: npt.NDArray[np.bool_]  # (F,) reaches a border of its tile inside the image


class Overlaps(NamedTuple):
    """P pairs of fragments of one class whose tiles share a zone in which both have pixels in common.

    Tiles that only touch share no pixel: there the zones are the pixels on both sides of the border, compared across
    it, and `common` is 0.
    """

    first: Integers  # (P,) fragment of the earlier tile
    second: Integers  # (P,)
    iou: npt.NDArray[np.float64]  # (P,) within the zone
    common: Integers  # (P,) pixels of both
    inside: Integers  # (P, 2) pixels of each that lie in the zone


def runs_of_tile(found: TileObjects, window: Window) -> ColumnRuns:
    """Decode the masks of a tile.

    Raises:
        ValueError: a mask is not of the tile's size.
    """
    height, width = window.size
    return runs_from_counts(decode_counts([rle["counts"] for rle in found.rles]), height=height, width=width)


def describe_fragments(layout: Layout, tiles: Sequence[TileObjects]) -> Fragments:
    """Measure the objects of all tiles."""
    height, width = layout.size
    boxes, areas, cut = [np.zeros((0, 4), np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.bool_)]
    for window, found in zip(layout.windows, tiles, strict=True):
        runs = runs_of_tile(found, window)
        own = runs.tight_boxes() + np.array([window.x1, window.y1, window.x1, window.y1])
        # How far inside the tile each side of a box lies; the borders of the image cut nothing.
        gaps = (own - np.array(window)) * np.array([1, 1, -1, -1])  # (n, 4)
        is_inner = np.array(window) != np.array([0, 0, width, height])  # (4,)
        boxes.append(own)
        areas.append(runs.areas())
        cut.append(((gaps < layout.margin) & is_inner).any(axis=1))
    return Fragments(
        labels=np.concatenate([np.zeros(0, np.int64), *(found.labels for found in tiles)]),
        scores=np.concatenate([np.zeros(0, np.float32), *(found.scores for found in tiles)]),
        tile=np.arange(len(tiles)).repeat([len(found.labels) for found in tiles]),
        boxes=np.concatenate(boxes),
        areas=np.concatenate(areas),
        is_cut=np.concatenate(cut),
    )


def find_overlaps(layout: Layout, tiles: Sequence[TileObjects], fragments: Fragments) -> Overlaps:
    """Compare the fragments of all neighbouring tiles.

    Bitmaps of at most about two rows of tiles are held, each mask in its bounding box.
    """
    windows = layout.windows
    firsts = fragments.tile.searchsorted(np.arange(len(tiles) + 1))  # (tiles + 1,)
    bitmaps: dict[int, list[npt.NDArray[np.bool_]]] = {}
    table: list[tuple[Any, ...]] = []
    for pair in layout.neighbours():
        for earlier in [tile for tile in bitmaps if tile < pair[0]]:
            del bitmaps[earlier]
        for tile in pair:
            if tile not in bitmaps:
                bitmaps[tile] = _bitmaps(tiles[tile], windows[tile])
        zones = _zones(*(windows[tile] for tile in pair))
        if zones is not None:
            table += _compare(pair, zones, fragments, firsts=firsts, bitmaps=bitmaps)
    columns = list(zip(*table, strict=True)) or [(), (), (), (), ()]
    first, second, iou, common, inside = columns
    return Overlaps(
        first=np.array(first, np.int64),
        second=np.array(second, np.int64),
        iou=np.array(iou, np.float64),
        common=np.array(common, np.int64),
        inside=np.array(inside, np.int64).reshape(-1, 2),
    )


def _bitmaps(found: TileObjects, window: Window) -> list[npt.NDArray[np.bool_]]:
    """Each mask of a tile in its bounding box."""
    runs = runs_of_tile(found, window)
    boxes, starts, pixels = rasterise_windows(
        TransformedRuns(runs.num_masks, runs.mask, runs.column + _BOTH_EDGES, runs.rows)
    )
    sizes = (boxes[:, 2:] - boxes[:, :2]).tolist()
    return [
        pixels[start : start + width * height].reshape(width, height).T
        for start, (width, height) in zip(starts.tolist(), sizes, strict=True)
    ]


def _zones(first: Window, second: Window) -> tuple[Window, Window] | None:
    """The part of each tile that is compared with the other's: the overlap, or one pixel on both sides of a border."""
    x1, y1 = max(first.x1, second.x1), max(first.y1, second.y1)
    x2, y2 = min(first.x2, second.x2), min(first.y2, second.y2)
    if x1 < x2 and y1 < y2:
        return Window(x1, y1, x2, y2), Window(x1, y1, x2, y2)
    if x1 == x2 and y1 < y2:
        before, after = Window(x1 - 1, y1, x1, y2), Window(x1, y1, x1 + 1, y2)
        return (before, after) if first.x2 == x1 else (after, before)
    if y1 == y2 and x1 < x2:
        return Window(x1, y1 - 1, x2, y1), Window(x1, y1, x2, y1 + 1)
    return None  # they touch at a corner


def _compare(
    pair: tuple[int, int],
    zones: tuple[Window, Window],
    fragments: Fragments,
    *,
    firsts: Integers,
    bitmaps: dict[int, list[npt.NDArray[np.bool_]]],
) -> list[tuple[Any, ...]]:
    """Rows of `Overlaps` for a pair of tiles."""
    shift = np.array(zones[0][:2]) - np.array(zones[1][:2])  # from the second zone to the first; 0 if it is the same
    is_shared = not shift.any()
    members, boxes = [], []
    for tile, zone in zip(pair, zones, strict=True):
        rows = np.arange(firsts[tile], firsts[tile + 1])
        clipped = _clip(fragments.boxes[rows], zone)
        kept = (clipped[:, :2] < clipped[:, 2:]).all(axis=1)
        members.append(rows[kept])
        boxes.append(clipped[kept])
    moved = boxes[1] + np.concatenate([shift, shift])
    low, high = np.maximum(boxes[0][:, None, :2], moved[:, :2]), np.minimum(boxes[0][:, None, 2:], moved[:, 2:])
    is_met = (low < high).all(axis=2)  # (n, m)
    is_met &= fragments.labels[members[0]][:, None] == fragments.labels[members[1]]

    def cut_out(side: int, index: int, x1: int, y1: int, x2: int, y2: int) -> npt.NDArray[np.bool_]:
        fragment = members[side][index]
        left, top = fragments.boxes[fragment, :2]
        pixels = bitmaps[pair[side]][fragment - firsts[pair[side]]]
        return pixels[y1 - top : y2 - top, x1 - left : x2 - left]

    inside = [
        [int(np.count_nonzero(cut_out(side, index, *box))) for index, box in enumerate(boxes[side].tolist())]
        for side in (0, 1)
    ]
    table: list[tuple[Any, ...]] = []
    dx, dy = shift.tolist()
    for index, other in zip(*(axis.tolist() for axis in is_met.nonzero()), strict=True):
        (x1, y1), (x2, y2) = low[index, other].tolist(), high[index, other].tolist()
        common = np.count_nonzero(
            cut_out(0, index, x1, y1, x2, y2) & cut_out(1, other, x1 - dx, y1 - dy, x2 - dx, y2 - dy)
        )
        if common:
            counts = inside[0][index], inside[1][other]
            iou = common / (sum(counts) - common)
            table.append((members[0][index], members[1][other], iou, common if is_shared else 0, counts))
    return table


def _clip(boxes: Integers, window: Window) -> Integers:
    """Clip boxes (n, 4) to a window."""
    return np.concatenate(
        [np.maximum(boxes[:, :2], np.array(window[:2])), np.minimum(boxes[:, 2:], np.array(window[2:]))], axis=1
    )
