"""Images that are read by windows, so that their size does not matter."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import numpy as np

from solo.images.reading import Image, read_image

Rectangle: TypeAlias = tuple[int, int, int, int]
"""x1 y1 x2 y2 in pixels, x2 and y2 exclusive."""


class WindowedImage(Protocol):
    """An image that is read by windows.

    Attributes:
        size: (height, width), pixels.
    """

    size: tuple[int, int]

    def read(self, window: Rectangle) -> Image:
        """The pixels (h, w, C) of a window."""


class ArrayImage:
    """An image (H, W, C) in memory; `WindowedImage`."""

    def __init__(self, pixels: Image) -> None:
        self._pixels = pixels
        self.size = (pixels.shape[0], pixels.shape[1])

    def read(self, window: Rectangle) -> Image:
        """A view of the pixels."""
        x1, y1, x2, y2 = window
        return self._pixels[y1:y2, x1:x2]


def open_image(
    image: str | os.PathLike[str] | np.ndarray, *, read: Callable[[Any], Image] = read_image
) -> WindowedImage:
    """Open an image for reading by windows.

    Args:
        image: a file, or an array.
        read: reads it as a whole, as (H, W, C) of 8 bits.

    Raises:
        DataError: it cannot be used.
    """
    return ArrayImage(read(image))
