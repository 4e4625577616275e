"""Finds files of data sets, and reads sizes of images from their headers."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from solo.errors import DataError, missing_file_message
from solo.images.header import FORMATS, keep_tiff_bands, read_header
from solo.images.reading import UnreadableImageError, read_file

IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
_HEADER_BYTES = 2**16
_SIZE_AT_START = (b"\xff\xd8", b"\x89PNG", b"BM", b"GIF8")
_MAX_BYTES = 2**31
_SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def list_images(folder: Path, *, recursive: bool = False) -> list[Path]:
    """The image files of a folder, sorted so that 2 comes before 10."""
    files = _walk(folder) if recursive else folder.iterdir()
    return sorted((file for file in files if is_image(file)), key=natural_key)


def is_image(path: Path) -> bool:
    """Whether a file has the suffix of an image, and is not hidden."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def _walk(folder: Path) -> Iterator[Path]:
    for root, _, names in os.walk(folder):
        for name in names:
            yield Path(root, name)


def natural_key(path: Path) -> tuple[Any, ...]:
    """A sort key under which numbers in names compare as numbers."""
    parts = re.split(r"(\d+)", path.as_posix())
    return (*(int(part) if index % 2 else part for index, part in enumerate(parts)), path.as_posix())


def by_stem(files: Iterable[Path]) -> dict[str, Path]:
    """Files by their names without suffix; of equal ones the first."""
    found: dict[str, Path] = {}
    for file in files:
        found.setdefault(file.stem, file)
    return found


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image with its EXIF orientation applied, from its header.

    Raises:
        UnreadableImageError: the file is missing, or no image.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_HEADER_BYTES)
        header = read_header(start) if start.startswith(_SIZE_AT_START) else None
        return size_of_header(header or read_header(read_file(path, max_size=_MAX_BYTES)), path)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise UnreadableImageError(path, missing_file_message(path, kind="file")) from None
    except (OSError, ValueError) as error:
        raise UnreadableImageError(path, str(error)) from None


def size_of_header(header: Any, path: Path) -> tuple[int, int]:
    """(height, width) of an upright image.

    Raises:
        UnreadableImageError: there is no header.
    """
    if header is None:
        raise UnreadableImageError(path, f"it is damaged or not an image of a supported format ({FORMATS})")
    return (header.width, header.height) if header.is_turned else (header.height, header.width)


def read_label_map(path: Path, *, as_colors: bool = False) -> npt.NDArray[np.int64]:
    """Read a mask file (H, W): its values, or red * 65536 + green * 256 + blue of a file in colour.

    Transparency is dropped.

    Args:
        path: the file.
        as_colors: give colours for files in gray too.

    Raises:
        UnreadableImageError: the file is missing, or no image.
    """
    content = read_file(path, max_size=_MAX_BYTES)
    flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(keep_tiff_bands(content), np.uint8), flags)
    except cv2.error as error:
        raise UnreadableImageError(path, f"it cannot be decoded ({error.err})") from None
    if pixels is None or pixels.dtype.kind not in "ui":
        raise UnreadableImageError(path, "it is no mask of whole numbers")
    values = pixels.astype(np.int64)
    if values.ndim == 2 or values.shape[2] < 3:
        gray = values if values.ndim == 2 else values[..., 0]
        return gray * 0x010101 if as_colors else gray
    blue, green, red = np.moveaxis(values[..., :3], -1, 0)
    is_gray = not as_colors and bool((blue == green).all() and (green == red).all())
    return blue if is_gray else red << 16 | green << 8 | blue


def read_json(path: Path) -> dict[str, Any]:
    """Read a file that holds one JSON object; a byte order mark is skipped.

    Raises:
        DataError: the file is missing, no JSON, or no object.
    """
    if not path.is_file():
        raise DataError(missing_file_message(path, kind="annotation file"))
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"annotation file {path} is not JSON: {error}") from None
    except OSError as error:
        raise DataError(f"annotation file {path} cannot be read: {error.strerror}") from None
    if not isinstance(content, dict):
        raise DataError(f"annotation file {path}: expected an object, found {type(content).__name__}")
    return content


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, without those that are empty.

    Raises:
        DataError: the file is missing, or no UTF-8 text.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"file {path} is no UTF-8 text") from None
    except OSError:
        raise DataError(missing_file_message(path, kind="file")) from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def relative_name(path: Path, root: Path) -> str:
    """The name of a file below a folder, with / between folders; of one elsewhere its last part."""
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        return path.name


def split_folders(root: Path) -> dict[str, Path]:
    """The folders of the splits below a folder; the folder itself as "train" where there are none."""
    found: dict[str, Path] = {}
    for name, split in _SPLIT_NAMES.items():
        if (root / name).is_dir():
            found.setdefault(split, root / name)
    return found or {"train": root}
