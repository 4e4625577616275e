"""Reads image files of all common formats as arrays of 8 bits, with numpy and OpenCV alone."""

from __future__ import annotations

import errno
import io
import os
import stat
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from solo.errors import DataError, missing_file_message
from solo.images.header import (
    FORMATS,
    JPEG_SCAN,
    JPEG_START,
    PNG_START,
    ImageHeader,
    jpeg_segments,
    keep_tiff_bands,
    read_header,
)
from solo.images.pixels import BGR, MAX_CHANNELS, Image, PixelFormat

# OpenCV reports damaged files on stderr; the exception raised here replaces that.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

MAX_PIXELS = 2**27  # 11585 x 11585, which take 0.4 GB as 8-bit BGR
MAX_PIXELS_VARIABLE = "OPENCV_IO_MAX_IMAGE_PIXELS"  # OpenCV reads it too; its own default is 2**30
_MAX_BYTES_PER_PIXEL = 8  # of a file: 16-bit BGRA without compression
_FROM_COLOR = (1, 3)  # channels that are made of a file's colours; others are its bands
_MAX_OPENCV_BANDS = 4
_JPEG_END, _PNG_END = b"\xff\xd9", b"IEND"


class UnreadableImageError(DataError):
    """An image file is missing, truncated or cannot be decoded."""

    def __init__(self, path: str | os.PathLike[str], reason: str | None = None) -> None:
        """Store the file and the reason.

        Args:
            path: The file. Without a reason it is the whole message, as PyTorch's loader re-creates a worker's
                exception from its message.
            reason: Why the file cannot be read.
        """
        super().__init__(path, reason)
        self.path = os.fspath(path)
        self.reason = reason

    def __str__(self) -> str:
        return self.path if self.reason is None else f"image {self.path} cannot be read: {self.reason}"


def read_image(path: str | os.PathLike[str], *, max_pixels: int | None = None, pixels: PixelFormat = BGR) -> Image:
    """Read an image with its EXIF orientation applied.

    Unless `pixels` says otherwise, grayscale and palette images are converted to colour, alpha is dropped, and 16 bits
    are scaled to 8.

    Args:
        path: A regular file; pipes and devices are refused.
        max_pixels: Larger images are refused before they are decoded; None is the environment variable
            OPENCV_IO_MAX_IMAGE_PIXELS, or 2**27.
        pixels: Channels and scaling.

    Returns:
        (H, W, 3) BGR, or as many channels as `pixels` says.

    Raises:
        UnreadableImageError: The file is missing, truncated, too large or not an image.
        DataError: It has other channels or values than `pixels` says.
    """
    return read_annotated_image(path, annotated=None, max_pixels=max_pixels, pixels=pixels)


def read_annotated_image(
    path: str | os.PathLike[str],
    *,
    annotated: tuple[int, int] | None,
    max_pixels: int | None = None,
    pixels: PixelFormat = BGR,
) -> Image:
    """Read an image as `read_image` does, but not rotated if only the unrotated pixels have the annotated size.

    Args:
        path: As for `read_image`.
        annotated: (height, width) that the annotation gives; None if it gives none.
        max_pixels: As for `read_image`.
        pixels: As for `read_image`.

    Raises:
        UnreadableImageError: As for `read_image`.
        DataError: The image has another size than the annotated one; also as for `read_image`.
    """
    content = _read_content(path, max_pixels=max_pixels)
    return decode_image(content, path, annotated=annotated, max_pixels=max_pixels, pixels=pixels)


def decode_image(
    content: bytes,
    name: str | os.PathLike[str],
    *,
    annotated: tuple[int, int] | None = None,
    max_pixels: int | None = None,
    pixels: PixelFormat = BGR,
) -> Image:
    """Decode the content of an image file as `read_annotated_image` does.

    Args:
        content: The whole file.
        name: What messages call it; nothing is opened.
        annotated: As for `read_annotated_image`.
        max_pixels: As for `read_image`.
        pixels: As for `read_image`.

    Raises:
        UnreadableImageError: The content is truncated, too large or not an image.
        DataError: The image has another size than the annotated one; also as for `read_image`.
    """
    header, upright = _check_content(content, name, annotated=annotated, max_pixels=max_pixels)
    stored = header.height, header.width
    orientation = header.orientation if annotated in (None, upright) else 1
    image = _decode(content, name, bands=header.bands, orientation=orientation, pixels=pixels)
    size = image.shape[:2]
    if size not in (stored, stored[::-1]):
        raise UnreadableImageError(
            name, f"its header says {stored[1]} x {stored[0]} pixels, but the image has another size"
        )
    if annotated not in (None, size):
        raise _size_error(name, size, annotated)
    return image


def check_image_file(
    path: str | os.PathLike[str], *, annotated: tuple[int, int] | None, max_pixels: int | None = None
) -> bytes:
    """Check all that can be known of an image without decoding it: header, number of pixels, end, annotated size.

    Args:
        path: As for `read_image`.
        annotated: As for `read_annotated_image`.
        max_pixels: As for `read_image`.

    Returns:
        The content of the file.

    Raises:
        UnreadableImageError: As for `read_image`, but damage between header and end is not found.
        DataError: The image has another size than the annotated one.
    """
    content = _read_content(path, max_pixels=max_pixels)
    _check_content(content, path, annotated=annotated, max_pixels=max_pixels)
    return content


def _read_content(path: str | os.PathLike[str], *, max_pixels: int | None) -> bytes:
    max_pixels = default_max_pixels() if max_pixels is None else max_pixels
    return read_file(path, max_size=_MAX_BYTES_PER_PIXEL * max(max_pixels, MAX_PIXELS))


def _check_content(
    content: bytes, name: str | os.PathLike[str], *, annotated: tuple[int, int] | None, max_pixels: int | None
) -> tuple[ImageHeader, tuple[int, ...]]:
    """The header of an image, and (height, width) with the orientation applied, after all checks but decoding."""
    max_pixels = default_max_pixels() if max_pixels is None else max_pixels
    header = read_header(content)
    if header is None:
        raise UnreadableImageError(name, f"it is damaged or not an image of a supported format ({FORMATS})")
    if header.width * header.height > max_pixels:
        raise UnreadableImageError(
            name,
            f"it has {header.width} x {header.height} pixels, more than {max_pixels}; LoadImage(max_pixels=...) or the "
            f"environment variable {MAX_PIXELS_VARIABLE} set another limit",
        )
    _refuse_truncated(content, name)
    stored = header.height, header.width
    upright = stored[::-1] if header.is_turned else stored
    if annotated not in (None, stored, upright):
        raise _size_error(name, upright, annotated)
    return header, upright


def _size_error(path: str | os.PathLike[str], size: tuple[int, ...], annotated: tuple[int, int]) -> DataError:
    return DataError(
        f"image {path} is {size[1]} x {size[0]} pixels, but its annotation says {annotated[1]} x {annotated[0]} "
        "(width x height)"
    )


def default_max_pixels() -> int:
    """The limit of `OPENCV_IO_MAX_IMAGE_PIXELS`, else `MAX_PIXELS`; DataError for a value that is no number."""
    text = os.environ.get(MAX_PIXELS_VARIABLE) or str(MAX_PIXELS)
    if not text.isdecimal():
        raise DataError(f"environment variable {MAX_PIXELS_VARIABLE}: expected a number of pixels, got {text!r}")
    return int(text)


def read_file(path: str | os.PathLike[str], *, max_size: int) -> bytes:
    """Read a regular file of at most `max_size` bytes.

    Raises:
        UnreadableImageError: it is missing, empty, larger, or no regular file.
    """
    try:
        with open(path, "rb", opener=_open_regular) as file:
            size = os.fstat(file.fileno()).st_size
            content = b"" if size > max_size else file.read()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise UnreadableImageError(path, missing_file_message(path, kind="file")) from None
    except OSError as error:
        raise UnreadableImageError(path, error.strerror or str(error)) from None
    except ValueError as error:  # a null byte or half a character in the name
        raise UnreadableImageError(path, str(error)) from None
    if not content:
        raise UnreadableImageError(path, f"its {size} bytes are more than {max_size}" if size else "the file is empty")
    return content


def _open_regular(path: str, flags: int) -> int:
    """Open a regular file; a pipe can block for ever, and a device can have no end."""
    mode = os.stat(path).st_mode
    descriptor = os.open(path, flags | os.O_NONBLOCK) if stat.S_ISREG(mode) else -1
    # Checked again: the name can mean another file by now.
    if descriptor >= 0 and stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    if descriptor >= 0:
        os.close(descriptor)
    raise IsADirectoryError if stat.S_ISDIR(mode) else OSError(errno.EINVAL, "it is not a regular file")


def _decode(
    content: bytes, path: str | os.PathLike[str], *, bands: int, orientation: int, pixels: PixelFormat
) -> Image:
    if bands > _MAX_OPENCV_BANDS:
        return pixels.convert(turn(_decode_bands(content, path, bands=bands), orientation), path)
    is_color = pixels.channels in _FROM_COLOR
    # Unlike IMREAD_UNCHANGED, these flags keep 16 bits and still apply the orientation.
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH if is_color else cv2.IMREAD_UNCHANGED
    if is_color and orientation == 1:
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(keep_tiff_bands(content), np.uint8), flags)
    except cv2.error as error:
        raise UnreadableImageError(path, f"it cannot be decoded ({error.err})") from None
    if image is None:
        raise UnreadableImageError(path, "it is damaged")
    return pixels.convert(image if is_color else turn(image, orientation), path)


def _decode_bands(content: bytes, path: str | os.PathLike[str], *, bands: int) -> npt.NDArray[Any]:
    """(H, W, bands) of a TIFF file of more bands than OpenCV decodes, which come in the order of the file."""
    if bands > MAX_CHANNELS:
        raise UnreadableImageError(path, f"it has {bands} bands, more than {MAX_CHANNELS}")
    try:
        import tifffile
    except ImportError:
        raise UnreadableImageError(
            path, f"it has {bands} bands; more than {_MAX_OPENCV_BANDS} need tifffile: pip install 'solov2[bands]'"
        ) from None
    try:
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            page = file.pages[0]
            image, axes = page.asarray(), page.axes
    except Exception as error:  # of tifffile's own and of the decoders that it calls
        raise UnreadableImageError(path, f"it cannot be decoded ({' '.join(str(error).split())[:200]})") from None
    order = [axes.find(axis) for axis in "YXS"]
    if image.ndim != 3 or min(order) < 0:
        raise UnreadableImageError(path, f"its axes are {axes}, expected rows, columns and bands")
    return np.transpose(image, order)


def turn(image: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Apply an EXIF orientation, 1 to 8, to (H, W) or (H, W, C)."""
    if orientation in (5, 6, 7, 8):
        image = np.swapaxes(image, 0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return image[:, ::-1] if orientation in (2, 3, 6, 7) else image


def _refuse_truncated(content: bytes, path: str | os.PathLike[str]) -> None:
    """Check for the end marker first: decoders fill the missing part of a truncated file with gray."""
    # Searched from the end, where it is in a complete file.
    if content.startswith(JPEG_START):
        # A thumbnail in the header has an end marker of its own.
        scan = next((offset for marker, offset in jpeg_segments(content) if marker == JPEG_SCAN), len(content))
        if content.rfind(_JPEG_END, scan) < 0:
            raise UnreadableImageError(path, f"the JPEG file is truncated ({len(content)} bytes without an end marker)")
    if content.startswith(PNG_START) and content.rfind(_PNG_END) < 0:
        raise UnreadableImageError(path, f"the PNG file is truncated ({len(content)} bytes without an end chunk)")
