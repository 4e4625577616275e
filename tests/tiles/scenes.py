"""Scenes of known objects, and a network that returns the true masks of each tile."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from solo.masks.rle import encode_masks
from solo.tiles import Objects, TileBatch, Tiles, Window, predict_by_tiles
from solo.tiles.overlaps import TileObjects

Masks = npt.NDArray[np.bool_]


class NumberedPixels:
    """An image whose pixels are its row and column: a network of it knows what it sees."""

    def __init__(self, height: int, width: int) -> None:
        self.size = (height, width)

    def read(self, window: Window) -> npt.NDArray[np.uint8]:
        rows, columns = np.mgrid[window.y1 : window.y2, window.x1 : window.x2]
        return np.stack([rows // 256 * 16 + columns // 256, rows % 256, columns % 256], axis=-1).astype(np.uint8)


def true_masks(masks: Masks, labels: Sequence[int], scores: Sequence[float] | None = None) -> Callable[..., list]:
    """A network for `NumberedPixels` of at most 16 * 256 pixels that returns the true masks (N, H, W) of a tile."""

    def predict(batch: TileBatch) -> list[TileObjects]:
        results = []
        for image, (height, width) in zip(batch.images, batch.original_sizes, strict=True):
            first, row, column = (int(value) for value in image[0, 0])
            top, left = first // 16 * 256 + row, first % 16 * 256 + column
            crops = masks[:, top : top + height, left : left + width]
            seen = np.flatnonzero(crops.any(axis=(1, 2)))
            own = np.full(len(masks), 0.9) if scores is None else np.asarray(scores)
            results.append(
                TileObjects(np.asarray(labels, np.int64)[seen], own[seen].astype(np.float32), encode_masks(crops[seen]))
            )
        return results

    return predict


def predict_scene(masks: Masks, tiles: Tiles, *, labels: Sequence[int] | None = None) -> Objects:
    """Predict a scene (N, H, W) by tiles at its own scale."""
    labels = [0] * len(masks) if labels is None else labels
    (objects,) = predict_by_tiles([NumberedPixels(*masks.shape[1:])], tiles=tiles, predict=true_masks(masks, labels))
    return objects


def rectangle(height: int, width: int, *, x1: int, y1: int, x2: int, y2: int) -> Masks:
    """A mask (height, width) of one rectangle."""
    mask = np.zeros((height, width), np.bool_)
    mask[y1:y2, x1:x2] = True
    return mask
