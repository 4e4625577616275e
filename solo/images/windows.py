"""Images that are read by windows, so that their size does not matter.

TIFF files of more than `MAX_PIXELS` are read by windows where they are stored in tiles or strips, by tifffile. Files of
other formats, and smaller TIFF files, are decoded as a whole: OpenCV decodes JPEG, PNG and the others in no other way.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from solo.images.pixels import BGR, Image, PixelFormat
from solo.images.reading import MAX_PIXELS, UnreadableImageError, default_max_pixels, read_image

Rectangle: TypeAlias = tuple[int, int, int, int]
"""x1 y1 x2 y2 in pixels, x2 and y2 exclusive."""

CACHE_BYTES = 128 * 2**20
"""Of decoded segments of a file: a row of tiles of 1024 pixels in an image 30,000 pixels wide."""

_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_GRAY, _RGB = 1, 2


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


class TiffImage:
    """A TIFF file of which only the segments (tiles or strips) under a window are decoded; `WindowedImage`.

    Decoded segments are kept, `CACHE_BYTES` of them at most.
    """

    def __init__(self, path: str | os.PathLike[str], *, pixels: PixelFormat = BGR) -> None:
        """Open a file.

        Raises:
            UnreadableImageError: tifffile is not installed, or the file is damaged, or its first page is not stored so
                that it can be read by windows.
        """
        self._path, self._format = os.fspath(path), pixels
        try:
            import tifffile
        except ImportError:
            raise self._error("it is read by windows, which needs tifffile: pip install 'solov2[bands]'") from None
        try:
            self._file = tifffile.TiffFile(path)
            self._page: Any = self._file.pages[0]
        except Exception as error:  # of tifffile's own
            raise self._error(f"it is damaged ({_short(error)})") from None
        self._check()
        self.size = (self._page.imagelength, self._page.imagewidth)
        self._segment_size = (
            (self._page.tilelength, self._page.tilewidth)
            if self._page.is_tiled
            else (self._page.rowsperstrip, self._page.imagewidth)
        )
        if self._segment_size[0] * self._segment_size[1] > MAX_PIXELS:
            raise self._error(f"it is stored in pieces of more than {MAX_PIXELS} pixels: store it in tiles")
        self._cache: OrderedDict[int, npt.NDArray[Any]] = OrderedDict()
        self._cached_bytes = 0

    def read(self, window: Rectangle) -> Image:
        """The pixels (h, w, C) of a window.

        Raises:
            UnreadableImageError: a segment is damaged or compressed in a way that cannot be decoded.
        """
        x1, y1, x2, y2 = window
        height, width = self._segment_size
        across = -(-self.size[1] // width)
        result: npt.NDArray[Any] | None = None
        for row in range(y1 // height, -(-y2 // height)):
            for column in range(x1 // width, -(-x2 // width)):
                segment = self._segment(row * across + column)
                if result is None:
                    result = np.zeros((y2 - y1, x2 - x1, segment.shape[2]), segment.dtype)
                top, left = row * height, column * width
                first, last = max(y1, top), min(y2, top + segment.shape[0])
                start, stop = max(x1, left), min(x2, left + segment.shape[1])
                result[first - y1 : last - y1, start - x1 : stop - x1] = segment[
                    first - top : last - top, start - left : stop - left
                ]
        if result is None:
            raise ValueError(f"the window {window} is empty")
        return self._format.convert(result, self._path)

    def _check(self) -> None:
        page = self._page
        if page.imagedepth != 1 or page.planarconfig != 1 or page.photometric not in (_GRAY, _RGB):
            raise self._error("only gray and RGB TIFF files with interleaved channels are read by windows")
        if self._format.percentiles is not None:
            raise self._error("percentiles of the whole image are not known where it is read by windows: state a range")
        orientation = page.tags.get("Orientation")
        if orientation is not None and orientation.value != 1:
            raise self._error(f"its orientation is {int(orientation.value)}; files read by windows must be upright")

    def _segment(self, index: int) -> npt.NDArray[Any]:
        """(h, w, C) pixels of a tile or strip; colour as BGR."""
        if index in self._cache:
            self._cache.move_to_end(index)
            return self._cache[index]
        segment = self._decode(index)
        self._cache[index] = segment
        self._cached_bytes += segment.nbytes
        while self._cached_bytes > CACHE_BYTES and len(self._cache) > 1:
            self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes
        return segment

    def _decode(self, index: int) -> npt.NDArray[Any]:
        page = self._page
        try:
            handle = self._file.filehandle
            handle.seek(page.dataoffsets[index])
            data = handle.read(page.databytecounts[index])
            decoded, _, shape = page.decode(data, index)
        except Exception as error:  # of tifffile's own and of the decoders that it calls
            raise self._error(f"a part of it cannot be decoded ({_short(error)})") from None
        if decoded is None:  # a part that was never written
            decoded = np.full((*shape[:3], page.samplesperpixel), page.nodata, page.dtype)
        pixels: npt.NDArray[Any] = decoded[0, : shape[1], : shape[2]]
        return pixels[..., [2, 1, 0, *range(3, pixels.shape[2])]] if page.photometric == _RGB else pixels

    def _error(self, reason: str) -> UnreadableImageError:
        return UnreadableImageError(self._path, reason)


def open_image(
    image: str | os.PathLike[str] | np.ndarray,
    *,
    read: Callable[[Any], Image] = read_image,
    pixels: PixelFormat = BGR,
) -> WindowedImage:
    """Open an image for reading by windows.

    Args:
        image: a file, or an array.
        read: reads it as a whole, as (H, W, C) of 8 bits.
        pixels: channels and scaling of a file that is read by windows.

    Raises:
        DataError: it cannot be used.
    """
    if not isinstance(image, np.ndarray):
        path = Path(image).expanduser()
        if is_large_tiff(path):
            return TiffImage(path, pixels=pixels)
    return ArrayImage(read(image))


def is_large_tiff(path: Path) -> bool:
    """Whether a file is a TIFF file that is too large to be decoded as a whole, which `open_image` reads by windows."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        if file.read(4) not in _TIFF_STARTS:
            return False
    try:
        import tifffile

        with tifffile.TiffFile(path) as tiff:
            page: Any = tiff.pages[0]
            return bool(page.imagelength * page.imagewidth > default_max_pixels())
    except Exception:  # whoever reads it as a whole reports what is wrong with it
        return False


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
