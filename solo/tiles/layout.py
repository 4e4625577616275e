"""Where the tiles of an image lie."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from solo.errors import ConfigError
from solo.masks.resize_taps import MASK_STRIDE

MIN_SIZE, MAX_SIZE, MAX_OVERLAP = 32, 2**14, 0.9


class Window(NamedTuple):
    """A rectangle of an image: x1 y1 x2 y2 in pixels, x2 and y2 exclusive."""

    x1: int
    y1: int
    x2: int
    y2: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.y2 - self.y1, self.x2 - self.x1


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """How images are cut into tiles: the option `tiles` of a model.

    Attributes:
        size: side of a tile, pixels of the network input.
        overlap: least overlap of neighbouring tiles, as a fraction of `size`; 0 to 0.9.
        scale: how images are resized before they are cut: a factor, or the (width, height) in pixels that they are
            fitted into with their aspect ratio. Tiles are resized one by one; there is no resized image.
        batch_size: how many tiles enter the network at once.

    Raises:
        ConfigError: a value is out of its bounds.
    """

    size: int
    overlap: float = 0.2
    scale: float | Sequence[int] = 1.0
    batch_size: int = 4

    def __post_init__(self) -> None:
        _check(_is_int(self.size) and MIN_SIZE <= self.size <= MAX_SIZE, "size", f"{MIN_SIZE} to {MAX_SIZE}", self.size)
        is_overlap = _is_number(self.overlap) and 0 <= self.overlap <= MAX_OVERLAP
        _check(is_overlap, "overlap", f"a fraction from 0 to {MAX_OVERLAP}", self.overlap)
        if isinstance(self.scale, (list, tuple)):
            is_scale = len(self.scale) == 2 and all(_is_int(side) and side > 0 for side in self.scale)
        else:
            is_scale = _is_number(self.scale) and 0.01 <= self.scale <= 100  # type: ignore[operator]
        _check(is_scale, "scale", "a factor from 0.01 to 100, or (width, height) in pixels", self.scale)
        _check(_is_int(self.batch_size) and self.batch_size > 0, "batch_size", "at least 1", self.batch_size)

    def factor(self, height: int, width: int) -> float:
        """By how much an image of this size is enlarged."""
        if isinstance(self.scale, (int, float)):
            return float(self.scale)
        long, short = max(self.scale), min(self.scale)
        return min(long / max(height, width), short / min(height, width))

    def layout(self, height: int, width: int) -> Layout:
        """Cut an image of this size."""
        factor = self.factor(height, width)
        side = max(1, round(self.size / factor))
        rows, columns = (_intervals(length, side, overlap=round(side * self.overlap)) for length in (height, width))
        return Layout(
            size=(height, width), rows=rows, columns=columns, factor=factor, margin=math.ceil(MASK_STRIDE / factor)
        )

    def network_size(self, window: Window, factor: float) -> tuple[int, int]:
        """(height, width) of a window's pixels as part of a network input, at most `size`."""
        height, width = (min(self.size, max(1, round(length * factor))) for length in window.size)
        return height, width


class Layout(NamedTuple):
    """The tiles of an image: each row of tiles has the same columns.

    Attributes:
        size: (height, width) of the image, pixels.
        rows: first and last (exclusive) pixel of each row of tiles, ascending.
        columns: likewise of each column.
        factor: by how much tiles are enlarged.
        margin: an object is cut by the border of a tile if it comes nearer than this, pixels: masks of the network have
            pixels of this size.
    """

    size: tuple[int, int]
    rows: tuple[tuple[int, int], ...]
    columns: tuple[tuple[int, int], ...]
    factor: float
    margin: int

    @property
    def windows(self) -> list[Window]:
        """The tiles row by row, in pixels of the image."""
        return [Window(x1, y1, x2, y2) for (y1, y2), (x1, x2) in itertools.product(self.rows, self.columns)]

    def neighbours(self) -> Iterator[tuple[int, int]]:
        """Yield the pairs of tiles (first < second) that overlap or touch along a side, by ascending first tile."""
        count = len(self.columns)
        row_pairs, column_pairs = _meeting(self.rows), _meeting(self.columns)
        for row, first in itertools.product(range(len(self.rows)), range(count)):
            for other_row in row_pairs[row]:
                for column in column_pairs[first]:
                    pair = row * count + first, other_row * count + column
                    if pair[0] < pair[1]:
                        yield pair


def choose_tiles(
    configured: Tiles | None,
    *,
    size: int | None = None,
    overlap: float | None = None,
    scale: float | Sequence[int] | None = None,
) -> Tiles | None:
    """Change the tiles of a model by what a user asks for.

    Args:
        configured: the tiles of the model; None if it predicts whole images.
        size: see `Tiles`; 0 for whole images, None for the model's.
        overlap: likewise; None for the model's, or the default.
        scale: likewise.

    Raises:
        ConfigError: a value is out of its bounds, or there are no tiles to which it applies.
    """
    given: dict[str, Any] = {
        name: value for name, value in (("overlap", overlap), ("scale", scale)) if value is not None
    }
    if size == 0 or (size is None and configured is None):
        if given:
            raise ConfigError(f"{' and '.join(given)} of tiles without tiles: give their size too")
        return None
    if size is not None:
        given["size"] = size
    return Tiles(**given) if configured is None else replace(configured, **given)


def _intervals(length: int, side: int, *, overlap: int) -> tuple[tuple[int, int], ...]:
    """Spread as few intervals as overlap enough evenly over an axis."""
    if length <= side:
        return ((0, length),)
    step = max(1, side - overlap)
    count = 1 + -(-(length - side) // step)
    starts = [round(index * (length - side) / (count - 1)) for index in range(count)]
    return tuple((start, start + side) for start in starts)


def _meeting(intervals: Sequence[tuple[int, int]]) -> list[list[int]]:
    """For each interval those that overlap or touch it, itself included."""
    return [
        [index for index, (start, stop) in enumerate(intervals) if start <= own_stop and own_start <= stop]
        for own_start, own_stop in intervals
    ]


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check(is_right: bool, name: str, expected: str, found: Any) -> None:
    if not is_right:
        raise ConfigError(f"tiles.{name}: expected {expected}, got {found!r}")
