"""How the values of an image file become the bytes that the network takes: channels, and scaling of deep images."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from solo.errors import DataError, printable

Image = npt.NDArray[np.uint8]

MAX_CHANNELS = 64
DARK = 4096
"""A 16-bit image whose values are all below this, a sixteenth of the range, is warned about: 12 bits in 16."""

_log = logging.getLogger("solo.images")
_warned: set[str] = set()


@dataclass(frozen=True, kw_only=True)
class PixelFormat:
    """Channels and scaling of the images of a model.

    8-bit images are taken as they are, so that an image can be converted twice. Deeper ones are scaled: 16 bits by
    their whole range unless a range or percentiles are stated, which floating-point images need.

    Attributes:
        channels: 3 for BGR, where grayscale is repeated and further bands are dropped; 1 for grayscale, to which colour
            is converted; else the first so many bands as they are stored (B, G, R, fourth, ...).
        value_range: (low, high), the values that become 0 and 255; those beyond are clipped.
        percentiles: (low, high) in percent; the values of each channel at these become 0 and 255.

    Raises:
        ValueError: the number of channels or a range is none, or both a range and percentiles are stated.
    """

    channels: int = 3
    value_range: Sequence[float] | None = None
    percentiles: Sequence[float] | None = None

    def __post_init__(self) -> None:
        """Check the values, and make tuples of lists."""
        if type(self.channels) is not int or not 1 <= self.channels <= MAX_CHANNELS:
            raise ValueError(f"channels must be a number from 1 to {MAX_CHANNELS}, not {self.channels!r:.40}")
        for name, bounds in (("value_range", (-math.inf, math.inf)), ("percentiles", (0.0, 100.0))):
            values = getattr(self, name)
            if values is None:
                continue
            if not _is_range(values, *bounds):
                raise ValueError(f"{name} must be (low, high) with low < high, not {values!r:.80}")
            object.__setattr__(self, name, (float(values[0]), float(values[1])))
        if self.value_range is not None and self.percentiles is not None:
            raise ValueError("value_range and percentiles exclude each other")

    @property
    def is_scaled(self) -> bool:
        """Whether a range or percentiles are stated."""
        return self.value_range is not None or self.percentiles is not None

    def convert(self, image: npt.NDArray[Any], path: str | os.PathLike[str]) -> Image:
        """Convert (H, W) or (H, W, C) of whole or floating-point numbers to (H, W, channels) of 8 bits.

        Args:
            image: the image; colour as BGR.
            path: its file, for messages.

        Raises:
            DataError: it is no image, has too few channels, or values that are to be scaled by a stated range.
        """
        if image.ndim not in (2, 3) or 0 in image.shape:
            raise DataError(f"image {path}: expected (H, W) or (H, W, C), got the shape {image.shape}")
        pixels = image[..., None] if image.ndim == 2 else image
        return np.ascontiguousarray(self._to_bytes(self._select(pixels, path), path))

    def _select(self, image: npt.NDArray[Any], path: str | os.PathLike[str]) -> npt.NDArray[Any]:
        """(H, W, channels) of (H, W, C)."""
        found = image.shape[2]
        if found == self.channels:
            return image
        if self.channels == 3 and found in (1, 2):
            return np.repeat(image[..., :1], 3, axis=2)
        if self.channels == 1 and found in (3, 4):
            gray = image[..., :3] @ np.array([0.114, 0.587, 0.299])
            return (np.rint(gray) if image.dtype.kind in "ui" else gray).astype(image.dtype)[..., None]
        if found < self.channels:
            raise DataError(f"image {path} has {found} channels, expected {self.channels} (LoadImage(channels=...))")
        return image[..., : self.channels]

    def _to_bytes(self, image: npt.NDArray[Any], path: str | os.PathLike[str]) -> Image:
        if image.dtype == np.uint8:
            return image
        if image.dtype.kind not in "uif" or image.dtype.itemsize > 8:
            raise DataError(f"image {path}: expected numbers, got {image.dtype}")
        if self.is_scaled:
            return self._scale(image)
        if image.dtype != np.uint16:
            raise DataError(
                f"image {path}: expected unsigned 8 or 16 bits, got {image.dtype}: state its range by "
                "LoadImage(value_range=(low, high)), or percentiles"
            )
        _warn_if_dark(image, path)
        return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)  # image / 257, rounded to the nearest

    def _scale(self, image: npt.NDArray[Any]) -> Image:
        low: Any
        high: Any
        if self.value_range is not None:
            low, high = self.value_range
        else:
            # A NaN is no value; a channel of NaN alone has none at all.
            values = np.where(np.isfinite(image), image, np.nan) if image.dtype.kind == "f" else image
            values = np.where(np.isnan(values).all(axis=(0, 1)), 0, values) if image.dtype.kind == "f" else values
            low, high = np.nanpercentile(values, np.asarray(self.percentiles), axis=(0, 1))  # (C,) each
        width = np.maximum(np.asarray(high, np.float64) - low, np.finfo(np.float32).tiny)
        scaled = np.clip((image.astype(np.float64) - low) / width, 0, 1) * 255
        return np.rint(np.nan_to_num(scaled)).astype(np.uint8)


BGR = PixelFormat()


def to_bgr(image: Image) -> Image:
    """(H, W, 3) of an image (H, W, C) of any number of channels, to be looked at."""
    return np.ascontiguousarray(image[..., :3]) if image.shape[2] >= 3 else np.repeat(image[..., :1], 3, axis=2)


def _is_range(values: Any, least: float, most: float) -> bool:
    is_pair = isinstance(values, (list, tuple)) and len(values) == 2
    if not is_pair or not all(type(value) in (int, float) and math.isfinite(value) for value in values):
        return False
    return bool(least <= values[0] < values[1] <= most)


def _warn_if_dark(image: npt.NDArray[Any], path: str | os.PathLike[str]) -> None:
    """Warn once in a process that 16-bit values are scaled by a range of which they use a small part."""
    highest = int(image.max())
    if highest >= DARK or "dark" in _warned:
        return
    _warned.add("dark")
    _log.warning(
        "image %s has 16 bits, but no value above %d: scaled by the whole range it is nearly black. "
        "LoadImage(value_range=(0, %d)) or LoadImage(percentiles=(1, 99)) in every pipeline scales such images "
        "(reported once)",
        printable(os.fspath(path)),
        highest,
        max(255, 2 ** max(highest.bit_length(), 1) - 1),
    )
