"""Pascal VOC's segmentation and SBD.

VOC: `SegmentationObject/NAME.png`, in which each colour of the palette is an object and (224, 224, 192) the border
between objects, `SegmentationClass/NAME.png` with the classes' colours, `JPEGImages/NAME.jpg`, and lists of names in
`ImageSets/Segmentation/`. CVAT writes a `labelmap.txt` with the names and colours of other classes.

SBD: `inst/NAME.mat`, `img/NAME.jpg` and lists of names, `train.txt` and `val.txt`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from solo.datasets.formats.files import by_stem, list_images, natural_key, read_label_map, read_lines
from solo.datasets.formats.records import ConversionReport, ImageRecord, ObjectRecord, encode_bitmap
from solo.errors import DataError
from solo.images.reading import UnreadableImageError

VOC_CLASSES: tuple[str, ...] = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
BORDER = 0xE0E0C0
_USUAL = ("train", "val", "test")

NO_IMAGE = "image or mask file is missing or cannot be read"
OTHER_SIZE = "masks of objects and of classes have different sizes"
UNKNOWN_CLASS = "object of a colour that is no class"
BORDER_PIXELS = "border between objects, whose pixels are no object's"


def palette(count: int = 256) -> npt.NDArray[np.int64]:
    """(count,) the colours of VOC's palette as red * 65536 + green * 256 + blue."""
    index = np.arange(count)
    color = np.zeros(count, np.int64)
    for bit in range(8):
        for channel, shift in enumerate((16, 8, 0)):
            color |= (index >> (3 * bit + channel) & 1) << (7 - bit) << shift
    return color


class VocSource:
    """A folder of VOC, or of an export with its layout."""

    def __init__(self, path: Path, report: ConversionReport) -> None:
        """Read the class names and the lists of the splits.

        Raises:
            DataError: there are no class masks, or a list cannot be read.
        """
        self._root, self._report = path, report
        if not (path / "SegmentationClass").is_dir():
            raise DataError(f"{path}: no folder SegmentationClass, which has the classes of the objects")
        self._order = {color: index for index, color in enumerate(palette().tolist())}
        self._names = _read_labelmap(path) or dict(zip(palette()[1:].tolist(), VOC_CLASSES, strict=False))
        self.classes = tuple(self._names.values())
        self._lists = _read_lists(path / "ImageSets" / "Segmentation") or {
            "train": [file.stem for file in list_images(path / "SegmentationObject")]
        }
        self.splits = tuple(self._lists)
        folders = [path / name for name in ("JPEGImages", "images") if (path / name).is_dir()]
        self._images = by_stem(image for folder in folders for image in list_images(folder))

    def images(self, split: str) -> Iterator[ImageRecord]:
        """Read the masks of a split, one image after the other."""
        for name in self._lists[split]:
            try:
                objects = read_label_map(self._root / "SegmentationObject" / f"{name}.png", as_colors=True)
                classes = read_label_map(self._root / "SegmentationClass" / f"{name}.png", as_colors=True)
                path = self._images[name]
            except (UnreadableImageError, KeyError):
                self._report.lost[NO_IMAGE].append(name)
                continue
            if objects.shape != classes.shape:
                self._report.lost[OTHER_SIZE].append(name)
                continue
            height, width = objects.shape
            records = list(self._objects(name, objects, classes))
            yield ImageRecord(name=path.name, path=path, height=height, width=width, objects=records)

    def _objects(self, name: str, objects: npt.NDArray[Any], classes: npt.NDArray[Any]) -> Iterator[ObjectRecord]:
        for color in sorted(np.unique(objects).tolist(), key=lambda color: self._order.get(color, color)):
            if color == 0:
                continue
            mask = objects == color
            if color == BORDER:
                self._report.lost[BORDER_PIXELS].append(f"{name}.png ({mask.sum()} pixels)")
                continue
            found, counts = np.unique(classes[mask], return_counts=True)
            class_name = self._names.get(int(found[counts.argmax()]))
            object_id = f"{name}.png:#{color:06x}"
            if class_name is None:
                self._report.lost[UNKNOWN_CLASS].append(object_id)
            else:
                yield ObjectRecord(class_name=class_name, segmentation=encode_bitmap(mask), object_id=object_id)


class SbdSource:
    """A folder of SBD (its .mat files need scipy)."""

    classes = VOC_CLASSES

    def __init__(self, path: Path, report: ConversionReport) -> None:
        """Read the lists of the splits.

        Raises:
            DataError: scipy is not installed, or a list cannot be read.
        """
        try:
            from scipy.io import loadmat
        except ImportError:
            raise DataError(f"{path}: the .mat files of SBD need scipy: pip install scipy") from None
        self._load, self._root, self._report = loadmat, path, report
        self._lists = _read_lists(path) or {
            "train": [file.stem for file in sorted((path / "inst").glob("*.mat"), key=natural_key)]
        }
        self.splits = tuple(self._lists)
        self._images = by_stem(list_images(path / "img")) if (path / "img").is_dir() else {}

    def images(self, split: str) -> Iterator[ImageRecord]:
        """Read the objects of a split, one image after the other."""
        for name in self._lists[split]:
            try:
                instances = self._load(self._root / "inst" / f"{name}.mat", variable_names=["GTinst"])["GTinst"][0, 0]
                values = np.asarray(instances["Segmentation"], np.int64)
                categories = np.asarray(instances["Categories"], np.int64).ravel().tolist()
                path = self._images[name]
                height, width = values.shape
            except (OSError, KeyError, ValueError, IndexError, TypeError):
                self._report.lost[NO_IMAGE].append(name)
                continue
            objects = []
            for number, category in enumerate(categories, 1):
                object_id = f"{name}.mat:{number}"
                mask = values == number
                if not 0 < category <= len(VOC_CLASSES) or not mask.any():
                    self._report.lost[UNKNOWN_CLASS].append(object_id)
                    continue
                class_name = VOC_CLASSES[category - 1]
                objects.append(
                    ObjectRecord(class_name=class_name, segmentation=encode_bitmap(mask), object_id=object_id)
                )
            yield ImageRecord(name=path.name, path=path, height=height, width=width, objects=objects)


def _read_lists(folder: Path) -> dict[str, list[str]]:
    """Names of images by split; `trainval.txt` is left out beside `train.txt`."""
    files = {file.stem: file for file in sorted(folder.glob("*.txt")) if file.name != "labelmap.txt"}
    if len(files) > 1:
        files.pop("trainval", None)
    order = sorted(files, key=lambda name: (_USUAL.index(name) if name in _USUAL else 3, name))
    lists = {name: [line.split()[0] for line in read_lines(files[name])] for name in order}
    # CVAT's one list is called default.
    return {"train" if list(lists) == [name] and name == "default" else name: found for name, found in lists.items()}


def _read_labelmap(path: Path) -> dict[int, str]:
    """Colour -> class of CVAT's labelmap.txt (`name:red,green,blue:parts:actions`), without the background.

    Raises:
        DataError: a line is malformed.
    """
    file = path / "labelmap.txt"
    names: dict[int, str] = {}
    for line in read_lines(file) if file.is_file() else ():
        if line.startswith("#"):
            continue
        name, _, rest = line.partition(":")
        channels = rest.partition(":")[0].split(",")
        if len(channels) != 3 or not all(channel.strip().isdecimal() and int(channel) < 256 for channel in channels):
            raise DataError(f"{file}: expected 'name:red,green,blue:parts:actions', found {line!r:.80}")
        red, green, blue = map(int, channels)
        color = red << 16 | green << 8 | blue
        if color and name.lower() != "background":
            names[color] = name
    return names
