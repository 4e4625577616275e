"""Predict images tile by tile, with any network, and join the objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from solo.errors import ConfigError
from solo.masks.column_runs import ColumnRuns, Integers, merge_runs
from solo.masks.rle import RLE, encode_runs
from solo.tiles.joining import Groups, join_fragments
from solo.tiles.layout import Layout, Tiles, Window
from solo.tiles.overlaps import TileObjects, describe_fragments, find_overlaps, runs_of_tile

GROUP_OBJECTS = 512
"""Objects whose masks are united and encoded at once."""

Pixels: TypeAlias = npt.NDArray[np.uint8]
Size: TypeAlias = tuple[int, int]


class WindowSource(Protocol):
    """An image that is read by windows, as those of `solo.images.windows`.

    Attributes:
        size: (height, width), pixels.
    """

    size: Size

    def read(self, window: Window) -> Pixels:
        """The pixels (h, w, C) of a window; C channels, BGR if they are three."""


class TileBatch(NamedTuple):
    """B tiles as inputs of the network.

    Attributes:
        images: (size, size, C) each; what an image smaller than a tile leaves is padded at the bottom and right.
        image_sizes: (height, width) of each without the padding.
        original_sizes: (height, width) of each in pixels of its image: the size of the masks to return.
    """

    images: list[Pixels]
    image_sizes: list[Size]
    original_sizes: list[Size]


class Objects(NamedTuple):
    """D objects of an image by descending score."""

    labels: npt.NDArray[np.int64]  # (D,)
    scores: npt.NDArray[np.float32]  # (D,)
    boxes: npt.NDArray[np.float32]  # (D, 4) x1 y1 x2 y2 in pixels, x2 and y2 exclusive
    rles: list[RLE]


PredictTiles: TypeAlias = Callable[[TileBatch], Sequence[TileObjects]]


def check_unresized(image_size: Sequence[int], original_size: Sequence[int]) -> None:
    """Check that a pipeline has left an image at its size.

    Raises:
        ConfigError: it has not.
    """
    if tuple(image_size) != tuple(original_size):
        raise ConfigError(
            f"the pipeline resizes an image of {original_size[1]} x {original_size[0]} pixels to {image_size[1]} x "
            f"{image_size[0]} (width x height), but tiles are cut from images of their own size: set model.tiles.scale"
        )


def predict_by_tiles(
    images: Iterable[WindowSource], *, tiles: Tiles, predict: PredictTiles, pad_value: Sequence[int] = (0,)
) -> Iterator[Objects]:
    """Predict images of any size.

    Tiles are read and resized one by one and enter the network in batches of `tiles.batch_size`, those of consecutive
    images together. Besides the batch only RLEs are held until the last tile of an image.

    Args:
        images: the images.
        tiles: how they are cut.
        predict: the network, from a batch of tiles to the objects of each.
        pad_value: colour of the padding, in the order of the channels: one number, or one a channel.

    Yields:
        The objects of each image, in order.
    """
    waiting: list[_Image] = []
    pending: list[tuple[_Image, int, Window]] = []
    for source in images:
        image = _Image(source, tiles.layout(*source.size))
        waiting.append(image)
        for index, window in enumerate(image.layout.windows):
            pending.append((image, index, window))
            if len(pending) == tiles.batch_size:
                _predict(pending, tiles=tiles, predict=predict, pad_value=pad_value)
        while waiting and waiting[0].is_complete:
            yield waiting.pop(0).join()
    if pending:
        _predict(pending, tiles=tiles, predict=predict, pad_value=pad_value)
    for image in waiting:
        yield image.join()


@dataclass
class _Image:
    """An image and the objects of its tiles so far."""

    source: WindowSource
    layout: Layout
    found: dict[int, TileObjects] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        return len(self.found) == len(self.layout.rows) * len(self.layout.columns)

    def join(self) -> Objects:
        return join_tiles(self.layout, [self.found[index] for index in range(len(self.found))])


def _predict(
    pending: list[tuple[_Image, int, Window]], *, tiles: Tiles, predict: PredictTiles, pad_value: Sequence[int]
) -> None:
    """Predict the pending tiles as one batch and clear the list."""
    batch = TileBatch([], [], [])
    for image, _, window in pending:
        pixels = image.source.read(window)
        height, width = tiles.network_size(window, image.layout.factor)
        if pixels.shape[:2] != (height, width):
            pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
        pixels = pixels.reshape(height, width, -1)  # one channel has no axis
        if (height, width) != (tiles.size, tiles.size):
            padded = np.empty((tiles.size, tiles.size, pixels.shape[2]), np.uint8)
            padded[:] = np.array(pad_value, np.uint8)
            padded[:height, :width] = pixels
            pixels = padded
        batch.images.append(pixels)
        batch.image_sizes.append((height, width))
        batch.original_sizes.append(window.size)
    for (image, index, _), found in zip(pending, predict(batch), strict=True):
        image.found[index] = found
    pending.clear()


def join_tiles(layout: Layout, tiles: Sequence[TileObjects]) -> Objects:
    """Join the objects of all tiles of an image, given in the order of `layout.windows`."""
    fragments = describe_fragments(layout, tiles)
    groups = join_fragments(fragments, find_overlaps(layout, tiles, fragments))
    count = len(groups.labels)
    rles: list[RLE] = []
    boxes = np.zeros((count, 4), np.float32)
    # Fragments of each group of objects, by tile: objects are ordered by score, tiles by position.
    for start in range(0, count, GROUP_OBJECTS):
        stop = min(start + GROUP_OBJECTS, count)
        runs = _unite_masks(layout, tiles, fragments.tile, groups, start=start, stop=stop)
        rles += encode_runs(runs)
        boxes[start:stop] = runs.tight_boxes()
    return Objects(groups.labels, groups.scores, boxes, rles)


def _unite_masks(
    layout: Layout, tiles: Sequence[TileObjects], tile_of: Integers, groups: Groups, *, start: int, stop: int
) -> ColumnRuns:
    """The masks of the objects [start, stop) in the image: runs of their fragments, without overlaps."""
    height, width = layout.size
    chosen = np.flatnonzero((groups.group >= start) & (groups.group < stop))
    windows, firsts = layout.windows, tile_of.searchsorted(np.arange(len(tiles)))
    parts: list[tuple[ColumnRuns, Sequence[int]]] = []
    for tile in np.unique(tile_of[chosen]).tolist():
        rows = chosen[tile_of[chosen] == tile]
        found = tiles[tile]
        own = runs_of_tile(found._replace(rles=[found.rles[row - firsts[tile]] for row in rows]), windows[tile])
        moved = own._replace(
            height=height, width=width, column=own.column + windows[tile].x1, rows=own.rows + windows[tile].y1
        )
        parts.append((moved, (groups.group[rows] - start).tolist()))
    merged = merge_runs(parts, num_masks=stop - start)
    return _without_overlaps(merged)


def _without_overlaps(runs: ColumnRuns) -> ColumnRuns:
    """Sort runs and unite those of one mask that overlap or meet in a column."""
    if not len(runs.mask):
        return runs
    order = np.lexsort((runs.rows[0], runs.column, runs.mask))
    mask, column, (tops, bottoms) = runs.mask[order], runs.column[order], runs.rows[:, order]
    # On one axis for all columns, with a gap of one between them, so that a running maximum stays in its column.
    origin = (mask * runs.width + column) * (runs.height + 1)
    reach = np.maximum.accumulate(bottoms + origin)
    is_new = np.ones(len(mask), np.bool_)
    is_new[1:] = tops[1:] + origin[1:] > reach[:-1]
    firsts = np.flatnonzero(is_new)
    lasts = np.append(firsts[1:], len(mask)) - 1
    rows = np.array([tops[firsts], reach[lasts] - origin[firsts]])
    return runs._replace(mask=mask[firsts], column=column[firsts], rows=rows)
