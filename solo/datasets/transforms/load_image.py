"""Reads image files of all common formats as 8-bit BGR."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from mmcv.transforms import BaseTransform

from solo.errors import DataError, missing_file_message
from solo.registry import TRANSFORMS

Image = npt.NDArray[np.uint8]

# OpenCV reports damaged files on stderr; the exception raised here replaces that.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

_JPEG_START, _JPEG_END, _JPEG_SCAN = b"\xff\xd8", b"\xff\xd9", 0xDA
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND"


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


def read_image(path: str | os.PathLike[str]) -> Image:
    """Read an image with its EXIF orientation applied.

    Grayscale and palette images are converted to colour, alpha is dropped, 16 bits are scaled to 8.

    Returns:
        (H, W, 3) BGR.

    Raises:
        UnreadableImageError: The file is missing, truncated or not an image.
    """
    return _decode(_read_bytes(path), path, apply_orientation=True)


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """Read `img_path` into `img` (H, W, 3) BGR uint8, unless `img` already is an array.

    When the annotation gives `height` and `width`, the image must have that size. EXIF orientation is applied unless
    only the unrotated pixels have the annotated size: then the annotation was made on the unrotated image.

    Adds `img`, `img_shape` and `ori_shape` (H, W).
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """See the class.

        Raises:
            UnreadableImageError: The file is missing, truncated or not an image.
            DataError: Its size is not the annotated one.
        """
        if results.get("img") is not None:
            image = _as_bgr(np.asarray(results["img"]), results.get("img_path") or "given as an array")
        else:
            image = _read_annotated(results["img_path"], results.get("height"), results.get("width"))
        results["img"] = image
        results["img_shape"] = results["ori_shape"] = image.shape[:2]
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def _read_annotated(path: str, height: int | None, width: int | None) -> Image:
    content = _read_bytes(path)
    image = _decode(content, path, apply_orientation=True)
    if height is None or width is None or image.shape[:2] == (height, width):
        return image
    stored = _decode(content, path, apply_orientation=False)
    if stored.shape[:2] == (height, width):
        return stored
    raise DataError(
        f"image {path} is {image.shape[1]} x {image.shape[0]} pixels, but its annotation says {width} x {height} "
        "(width x height)"
    )


def _read_bytes(path: str | os.PathLike[str]) -> bytes:
    try:
        content = Path(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise UnreadableImageError(path, missing_file_message(path, kind="file")) from None
    except OSError as error:
        raise UnreadableImageError(path, error.strerror or str(error)) from None
    except ValueError as error:  # a null byte or half a character in the name
        raise UnreadableImageError(path, str(error)) from None
    if not content:
        raise UnreadableImageError(path, "the file is empty")
    return content


def _decode(content: bytes, path: str | os.PathLike[str], *, apply_orientation: bool) -> Image:
    _refuse_truncated(content, path)
    # Unlike IMREAD_UNCHANGED, these flags keep 16 bits and still apply the orientation.
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
    if not apply_orientation:
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        raise UnreadableImageError(path, f"it cannot be decoded ({error.err})") from None
    if image is None:
        raise UnreadableImageError(path, "it is damaged or of an unknown format")
    return _as_bgr(image, path)


def _refuse_truncated(content: bytes, path: str | os.PathLike[str]) -> None:
    """Check for the end marker first: decoders fill the missing part of a truncated file with gray."""
    # Searched from the end, where it is in a complete file.
    if content.startswith(_JPEG_START) and content.rfind(_JPEG_END, _jpeg_scan_offset(content)) < 0:
        raise UnreadableImageError(path, f"the JPEG file is truncated ({len(content)} bytes without an end marker)")
    if content.startswith(_PNG_START) and content.rfind(_PNG_END) < 0:
        raise UnreadableImageError(path, f"the PNG file is truncated ({len(content)} bytes without an end chunk)")


def _jpeg_scan_offset(content: bytes) -> int:
    """Offset of a JPEG file's pixels: a thumbnail in the header has an end marker of its own."""
    offset = len(_JPEG_START)
    while offset + 4 <= len(content) and content[offset] == 0xFF and content[offset + 1] != _JPEG_SCAN:
        is_fill_byte = content[offset + 1] == 0xFF
        offset += 1 if is_fill_byte else 2 + int.from_bytes(content[offset + 2 : offset + 4], "big")
    return offset


def _as_bgr(image: npt.NDArray[Any], path: str | os.PathLike[str]) -> Image:
    """Convert (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of 8 or 16 bits to (H, W, 3) of 8 bits."""
    if image.dtype == np.uint16:
        image = np.rint(image / 257.0).astype(np.uint8)
    if image.dtype != np.uint8:
        raise DataError(f"image {path}: expected unsigned 8 or 16 bits, got {image.dtype}")
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    if image.ndim != 3 or image.shape[2] not in (3, 4) or 0 in image.shape:
        raise DataError(f"image {path}: expected (H, W), (H, W, 3) or (H, W, 4), got the shape {image.shape}")
    return np.ascontiguousarray(image[..., :3])
