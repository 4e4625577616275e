"""labelme: one json file beside each image, with polygons, rectangles, circles and masks.

Shapes of one label and one `group_id` are the parts of one object.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from solo.datasets.formats.files import image_size, natural_key, read_json, read_lines, size_of_header, split_folders
from solo.datasets.formats.records import ConversionReport, ImageRecord, ObjectRecord, encode_bitmap, to_rles
from solo.errors import DataError
from solo.images.header import read_header
from solo.images.reading import UnreadableImageError
from solo.masks.rle import decode_masks
from solo.masks.segmentations import SegmentationError, pack_segmentation

NO_AREA = "shape without an area (point, line)"
MALFORMED = "shape without label or usable points"
NO_IMAGE = "image is neither beside the json file nor inside it"
OTHER_SIZE = "image has another size than its json file says"
NOT_LABELME = "json file is none of labelme's"

_CIRCLE_POINTS = 72
_RESERVED = {"__ignore__", "_background_"}  # of labelme's labels.txt


class LabelmeSource:
    """A folder of labelme files; below folders train, val and test, or one split."""

    def __init__(self, path: Path, report: ConversionReport) -> None:
        """Find the files, and the names of the classes in all of them unless a labels.txt lists them.

        Raises:
            DataError: a file is no JSON.
        """
        self._folders = split_folders(path)
        self._report = report
        self.splits = tuple(self._folders)
        listed = path / "labels.txt"
        if listed.is_file():
            self.classes = tuple(line for line in read_lines(listed) if line not in _RESERVED)
        else:
            self.classes = tuple(sorted({name for split in self.splits for name in self._names(split)}))

    def images(self, split: str) -> Iterator[ImageRecord]:
        """Read the files of a split, one after the other."""
        folder = self._folders[split]
        for file in _json_files(folder):
            content = read_json(file)
            if not isinstance(content.get("shapes"), list):
                self._report.lost[NOT_LABELME].append(file.relative_to(folder).as_posix())
                continue
            record = self._read(file, content, folder)
            if record is not None:
                yield record

    def _names(self, split: str) -> Iterator[str]:
        for file in _json_files(self._folders[split]):
            shapes = read_json(file).get("shapes")
            for shape in shapes if isinstance(shapes, list) else ():
                if isinstance(shape, dict) and isinstance(shape.get("label"), str):
                    yield shape["label"]

    def _read(self, file: Path, content: Mapping[str, Any], folder: Path) -> ImageRecord | None:
        name = file.relative_to(folder).as_posix()
        try:
            path, inside, (height, width) = _find_image(file, content)
        except UnreadableImageError:
            self._report.lost[NO_IMAGE].append(name)
            return None
        stated = content.get("imageHeight"), content.get("imageWidth")
        if None not in stated and stated != (height, width):
            if stated != (width, height):  # turned by its EXIF orientation, which labelme applies or not
                self._report.lost[OTHER_SIZE].append(name)
                return None
            height, width = width, height
        return ImageRecord(
            name=path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name,
            path=path,
            content=inside,
            height=height,
            width=width,
            objects=self._objects(content["shapes"], name, height=height, width=width),
        )

    def _objects(self, shapes: list[Any], name: str, *, height: int, width: int) -> list[ObjectRecord]:
        groups: dict[tuple[str, Any], list[ObjectRecord]] = {}
        for number, shape in enumerate(shapes):
            object_id = f"{name}:{number}"
            try:
                segmentation = _read_shape(shape, height=height, width=width)
            except (ValueError, TypeError, KeyError, SegmentationError):
                self._report.lost[MALFORMED].append(object_id)
                continue
            if segmentation is None:
                self._report.lost[NO_AREA].append(object_id)
                continue
            record = ObjectRecord(class_name=shape["label"], segmentation=segmentation, object_id=object_id)
            group = shape.get("group_id")
            groups.setdefault((shape["label"], object_id if group is None else str(group)), []).append(record)
        return [_join(parts, height=height, width=width) for parts in groups.values()]


def _json_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.json"), key=natural_key)


def _find_image(file: Path, content: Mapping[str, Any]) -> tuple[Path, bytes | None, tuple[int, int]]:
    """The image that a file names, beside it or inside it, and its (height, width).

    Raises:
        UnreadableImageError: there is none.
    """
    named = content.get("imagePath")
    path = file.parent / (named.replace("\\", "/") if isinstance(named, str) and named else file.stem)
    for candidate in (path, file.parent / path.name):
        if candidate.is_file():
            return candidate, None, image_size(candidate)
    data = content.get("imageData")
    try:
        inside = base64.b64decode(data, validate=True) if isinstance(data, str) else b""
    except binascii.Error:
        inside = b""
    return file.parent / path.name, inside, size_of_header(read_header(inside), path)


def _read_shape(shape: Any, *, height: int, width: int) -> Any:
    """The polygons or the RLE of a shape; None for one without an area.

    Raises:
        ValueError, TypeError, KeyError, SegmentationError: it is malformed.
    """
    kind = shape.get("shape_type") or "polygon"
    if not isinstance(shape["label"], str):
        raise ValueError("a label is a text")
    if kind in ("point", "points", "line", "linestrip"):
        return None
    points = np.array(shape["points"], np.float64)
    if kind == "mask":
        return encode_bitmap(_paste_mask(shape["mask"], points, height=height, width=width))
    if kind == "circle":
        (x, y), edge = points
        angles = np.arange(_CIRCLE_POINTS) * (2 * math.pi / _CIRCLE_POINTS)
        points = np.stack([np.cos(angles), np.sin(angles)], 1) * math.hypot(*(edge - (x, y))) + (x, y)
    elif kind == "rectangle" and len(points) == 2:
        (x1, y1), (x2, y2) = points
        points = np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)])
    elif kind not in ("polygon", "rectangle", "oriented_rectangle"):
        raise ValueError("an unknown kind")
    polygons = [points.reshape(-1, 2).ravel().tolist()]
    if not pack_segmentation(polygons):
        raise ValueError("no three points")
    return polygons


def _paste_mask(text: str, points: np.ndarray, *, height: int, width: int) -> np.ndarray:
    """(H, W) bool from the PNG of the pixels within a box, both corners included."""
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_GRAYSCALE)
    if decoded is None:
        raise ValueError("no PNG")
    left, top = np.floor(points.min(0)).astype(int)
    mask = np.zeros((height, width), np.bool_)
    rows, columns = decoded.shape
    shown = decoded[max(0, -top) : max(0, height - top), max(0, -left) : max(0, width - left)] > 0
    mask[max(0, top) : max(0, top) + shown.shape[0], max(0, left) : max(0, left) + shown.shape[1]] = shown
    if rows > height or columns > width:
        raise ValueError("a mask larger than the image")
    return mask


def _join(parts: list[ObjectRecord], *, height: int, width: int) -> ObjectRecord:
    """One object of several parts: their polygons, or the pixels of all."""
    first = parts[0]
    if len(parts) == 1:
        return first
    if all(isinstance(part.segmentation, list) for part in parts):
        segmentation: Any = [polygon for part in parts for polygon in part.segmentation]
    else:
        masks = decode_masks(to_rles(parts, height=height, width=width), size=(height, width))
        segmentation = encode_bitmap(np.logical_or.reduce(masks))
    return ObjectRecord(class_name=first.class_name, segmentation=segmentation, object_id=first.object_id)


def detect(path: Path) -> bool:
    """Whether a folder holds labelme files."""
    if not path.is_dir():
        return False
    for folder in split_folders(path).values():
        file = next(iter(sorted(folder.rglob("*.json"))), None)
        if file is not None:
            try:
                return isinstance(read_json(file).get("shapes"), list)
            except DataError:
                return False
    return False
