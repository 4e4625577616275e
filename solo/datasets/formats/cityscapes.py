"""Cityscapes: `gtFine/SPLIT/CITY/*_gtFine_instanceIds.png`, or `*_gtFine_polygons.json` where these are missing.

Values from 1000 on are class * 1000 + number. A class of objects without a number is a group that nobody separated: a
crowd region. In the json files later polygons lie on top of earlier ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from solo.datasets.formats.files import natural_key, read_json, read_label_map
from solo.datasets.formats.records import ConversionReport, ImageRecord, ObjectRecord, encode_bitmap, runs_of, to_rles
from solo.errors import DataError
from solo.images.reading import UnreadableImageError
from solo.masks.rle import decode_windows
from solo.masks.segmentations import SegmentationError

# The classes of objects that Cityscapes evaluates, by their ids; caravans (29) and trailers (30) are not among them.
CLASS_BY_ID = {
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}
_IGNORED = {29: "caravan", 30: "trailer"}
_GROUP = "group"

NOT_EVALUATED = "caravan or trailer, which Cityscapes does not evaluate"
NO_IMAGE = "image or mask file is missing or cannot be read"
MALFORMED = "polygon is malformed"

_INSTANCES, _POLYGONS = "_instanceIds.png", "_polygons.json"


class CityscapesSource:
    """A folder with gtFine (or gtCoarse) and leftImg8bit."""

    classes = tuple(CLASS_BY_ID.values())

    def __init__(self, path: Path, report: ConversionReport) -> None:
        """Find the splits.

        Raises:
            DataError: there are none.
        """
        found = find_annotations(path)
        if found is None:
            raise DataError(f"{path}: expected a folder gtFine there")
        self._folder, self._report = found, report
        self._images = found.parent / "leftImg8bit"
        self.splits = tuple(split for split in ("train", "val", "test") if (found / split).is_dir())
        if not self.splits:
            raise DataError(f"{found}: expected folders train, val or test there")

    def images(self, split: str) -> Iterator[ImageRecord]:
        """Read the masks of a split, one image after the other."""
        for stem, folder in self._stems(self._folder / split):
            name = stem[: stem.rindex("_gt")] + "_leftImg8bit.png"
            path = self._images / split / folder.name / name
            try:
                values, objects = self._read(folder, stem)
                if not path.is_file():
                    raise UnreadableImageError(path, "it is missing")
            except UnreadableImageError:
                self._report.lost[NO_IMAGE].append(name)
                continue
            height, width = values.shape
            yield ImageRecord(
                name=f"{folder.name}/{name}", path=path, height=height, width=width, objects=list(objects)
            )

    def _stems(self, folder: Path) -> Iterator[tuple[str, Path]]:
        files = [*folder.glob(f"*/*{_INSTANCES}"), *folder.glob(f"*/*{_POLYGONS}")]
        stems = {file.parent / file.name.removesuffix(_INSTANCES).removesuffix(_POLYGONS) for file in files}
        for stem in sorted(stems, key=natural_key):
            if "_gt" in stem.name:
                yield stem.name, stem.parent

    def _read(self, folder: Path, stem: str) -> tuple[npt.NDArray[np.int64], Iterator[ObjectRecord]]:
        """(H, W) values of all pixels, and the objects.

        Raises:
            UnreadableImageError: the file of values is damaged.
            DataError: the file of polygons is.
        """
        file = folder / f"{stem}{_INSTANCES}"
        values = read_label_map(file) if file.is_file() else self._render(folder / f"{stem}{_POLYGONS}")
        return values, self._objects(values, stem)

    def _objects(self, values: npt.NDArray[np.int64], stem: str) -> Iterator[ObjectRecord]:
        for value in np.unique(values).tolist():
            class_id = value // 1000 if value >= 1000 else value
            object_id = f"{stem}:{value}"
            if class_id in _IGNORED:
                self._report.lost[NOT_EVALUATED].append(object_id)
            if class_id in CLASS_BY_ID:
                mask = encode_bitmap(values == value)
                name, is_crowd = CLASS_BY_ID[class_id], value < 1000
                yield ObjectRecord(class_name=name, segmentation=mask, object_id=object_id, is_crowd=is_crowd)

    def _render(self, file: Path) -> npt.NDArray[np.int64]:
        """(H, W) the values that Cityscapes' own scripts render from the polygons."""
        content = read_json(file)
        height, width = content.get("imgHeight"), content.get("imgWidth")
        if type(height) is not int or type(width) is not int or not 0 < height * width < 2**27:
            raise DataError(f"annotation file {file}: imgHeight and imgWidth are {height!r} and {width!r}")
        values = np.zeros((height, width), np.int64)
        ids = {name: class_id for class_id, name in (CLASS_BY_ID | _IGNORED).items()}
        counts: dict[int, int] = {}
        for number, entry in enumerate(content.get("objects") or ()):
            object_id = f"{file.name}:{number}"
            try:
                label, polygon = entry["label"], np.array(entry["polygon"], np.float64).ravel().tolist()
                record = ObjectRecord(class_name=label, segmentation=[polygon], object_id=object_id)
                if not runs_of([record], height=height, width=width).areas()[0]:
                    raise ValueError("without a pixel")
            except (KeyError, TypeError, ValueError, SegmentationError):
                self._report.lost[MALFORMED].append(object_id)
                continue
            class_id = ids.get(label.removesuffix(_GROUP), 0)
            value = class_id
            if class_id and not label.endswith(_GROUP):
                value = 1000 * class_id + counts.get(class_id, 0)
                counts[class_id] = counts.get(class_id, 0) + 1
            _paint(values, record, value)
        return values


def _paint(values: npt.NDArray[np.int64], record: ObjectRecord, value: int) -> None:
    height, width = values.shape
    rles: Any = to_rles([record], height=height, width=width)
    for left, pixels in decode_windows(rles, size=(height, width)):
        values[:, left : left + pixels.shape[1]][pixels] = value


def find_annotations(path: Path) -> Path | None:
    """The folder of annotations that a path is, or that it holds."""
    names = ("gtFine", "gtCoarse")
    if path.name in names:
        return path
    return next((path / name for name in names if (path / name).is_dir()), None)
