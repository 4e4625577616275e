"""How images become inputs of the network: resized to fit a scale, and whole or cut into square tiles."""

from __future__ import annotations

import math
from dataclasses import dataclass

SIDE_DIVISOR = 32
"""Inputs are padded to multiples of this, as `solo.models.preprocessor` does."""


@dataclass(frozen=True, kw_only=True)
class InputPlan:
    """Size of the images in the network's input, and of the tiles that they are cut into.

    Attributes:
        scale: (long, short) sides in pixels that an image is resized to fit into, as by `mmdet.Resize`; None leaves
            images as they are.
        tile: Side in pixels of the random crops of the training and of the tiles of a test; None for whole images.
        overlap: Share of a tile's side that the next tile repeats in a test.
    """

    scale: tuple[int, int] | None
    tile: int | None = None
    overlap: float = 0.2

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of an image after it is resized, with mmcv's rounding."""
        if self.scale is None:
            return height, width
        long, short = max(self.scale), min(self.scale)
        factor = min(long / max(height, width), short / min(height, width))
        return int(height * factor + 0.5), int(width * factor + 0.5)

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """(H, W) of one input of the network for an image of (height, width) pixels, padded."""
        limit = self.tile or max(self.resized(height, width))
        sides = [min(side, limit) for side in self.resized(height, width)]
        return tuple(side + -side % SIDE_DIVISOR for side in sides)  # type: ignore[return-value]

    def num_tiles(self, height: int, width: int) -> int:
        """How many inputs a test of an image takes."""
        if self.tile is None:
            return 1
        step = self.tile * (1 - self.overlap)
        return math.prod(
            max(1, math.ceil((side - self.tile * self.overlap) / step)) for side in self.resized(height, width)
        )

    def train_pixels(self, height: int, width: int) -> int:
        """Pixels of the network's input in training: one crop, or the whole image."""
        return math.prod(self.input_size(height, width))

    def test_pixels(self, height: int, width: int) -> int:
        """Pixels of the network's inputs in a test: all tiles, or the whole image."""
        return self.train_pixels(height, width) * self.num_tiles(height, width)

    def __str__(self) -> str:
        size = "images as they are" if self.scale is None else "images of " + " x ".join(map(str, self.scale))
        return size if self.tile is None else f"{size} px, {self.tile} px crops and tiles"
