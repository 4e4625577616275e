"""YOLO segmentation data sets: a data.yaml, and a text file with one polygon a line beside each image.

A line is `class x y x y ...`, coordinates from 0 to 1 of width and height. The labels of `.../images/a.jpg` are in
`.../labels/a.txt`; an image without such a file has no object.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from solo.datasets.formats.files import IMAGE_SUFFIXES, image_size, list_images, read_lines, relative_name
from solo.datasets.formats.records import ConversionReport, ImageRecord, ObjectRecord
from solo.errors import DataError, missing_file_message, suggestion
from solo.images.reading import UnreadableImageError

FILE_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
SPLITS = ("train", "val", "test")

NOT_NUMBERS = "line is not 'class x y x y ...'"
UNKNOWN_CLASS = "class is none of the data.yaml's names"
BOX_ALONE = "line holds a box, without a polygon"
NOT_RELATIVE = "coordinates are not from 0 to 1"
UNREADABLE_LABELS = "label file cannot be read"
UNREADABLE_IMAGE = "image cannot be read"

_MAX_YAML_BYTES = 2**22
_SLACK = 0.01  # by how much tools exceed 0 to 1
_NUM_BOX = 5


class LabelLine(NamedTuple):
    """One line of a label file."""

    label_id: str  # file and line number
    label: int
    polygon: list[float]  # x y x y ... in pixels
    problem: str | None  # why it cannot be used


@dataclass(frozen=True, kw_only=True)
class YoloData:
    """The content of a data.yaml."""

    path: Path
    root: Path  # folder that the paths in it are relative to
    classes: tuple[str, ...]
    entries: Mapping[str, tuple[str, ...]]  # split -> folders, or text files with the paths of images

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits."""
        return tuple(self.entries)

    def image_paths(self, split: str) -> list[Path]:
        """The image files of a split.

        Raises:
            DataError: there is no such split, or its folder or list does not exist.
        """
        if split not in self.entries:
            names = ", ".join(self.entries)
            raise DataError(f"{self.path} has no split {split!r}{suggestion(split, self.entries)}; it has {names}")
        found: dict[Path, None] = {}
        for entry in self.entries[split]:
            path = self.locate(entry, split)
            images = _read_list(path) if path.is_file() else list_images(path, recursive=True)
            found.update(dict.fromkeys(images))
        if not found:
            raise DataError(f"{self.path}: {split}: {', '.join(self.entries[split])}: no image there")
        return list(found)

    def name_of(self, image: Path) -> str:
        """The name of an image: its path below the root, else the whole path."""
        return image.relative_to(self.root).as_posix() if image.is_relative_to(self.root) else image.as_posix()

    def read_labels(self, image: Path, *, height: int, width: int) -> Iterator[LabelLine]:
        """Read the lines of an image's label file; without a file there are none."""
        path = labels_path(image)
        name = self.name_of(path)
        if not path.is_file():
            return
        try:
            lines = path.read_bytes().decode("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError):
            yield LabelLine(name, -1, [], UNREADABLE_LABELS)
            return
        for number, line in enumerate(lines, 1):
            if line.strip():
                label, polygon, problem = _parse_line(line, num_classes=len(self.classes), height=height, width=width)
                yield LabelLine(f"{name}:{number}", label, polygon, problem)

    def locate(self, entry: str, split: str) -> Path:
        """The folder or list of an entry; Roboflow writes ../train for the train beside the file."""
        candidates = [self.root / entry, self.path.parent / entry]
        if entry.startswith("../"):
            candidates.append(self.path.parent / entry[3:])
        for candidate in candidates:
            if candidate.exists():
                return Path(os.path.normpath(candidate))
        raise DataError(f"{self.path}: {split}: {candidates[0]} does not exist")


def is_yaml(path: Path) -> bool:
    """Whether a file has the suffix of YAML."""
    return path.suffix.lower() in (".yaml", ".yml")


def find_yaml(path: Path) -> Path | None:
    """The data.yaml that a path is, or that a folder holds; None if there is none."""
    if is_yaml(path):
        return path
    return next((path / name for name in FILE_NAMES if (path / name).is_file()), None)


def open_yaml(path: Path) -> YoloData:
    """Read a data.yaml.

    Raises:
        DataError: it is missing or malformed; the message names file and key.
    """
    content = _load_yaml(path)
    classes = _read_names(content, path)
    root = path.parent
    given = content.get("path")
    if given is not None:
        if not isinstance(given, str):
            raise DataError(f"{path}: path must be a text, found {given!r:.80}")
        # Ultralytics looks below a folder of its own; files that were moved name a folder that is no longer there.
        root = next((p for p in (path.parent / Path(given).expanduser(), Path(given)) if p.is_dir()), path.parent)
    entries = {split: _read_entries(content.get(split), path, split) for split in SPLITS}
    present = {split: found for split, found in entries.items() if found}
    if not present:
        raise DataError(f"{path} has none of the keys {', '.join(SPLITS)}; it has {sorted(map(str, content))}")
    return YoloData(path=path, root=Path(os.path.normpath(root)), classes=classes, entries=present)


def labels_path(image: Path) -> Path:
    """The label file of an image: the last folder `images` of its path becomes `labels`, as ultralytics does it."""
    parts = list(image.parts)
    if "images" in parts[:-1]:
        last = len(parts) - 2 - parts[:-1][::-1].index("images")
        parts[last] = "labels"
    return Path(*parts).with_suffix(".txt")


def _load_yaml(path: Path) -> dict[str, Any]:
    import yaml

    if not path.is_file():
        raise DataError(missing_file_message(path, kind="data file"))
    try:
        if path.stat().st_size > _MAX_YAML_BYTES:
            raise DataError(f"{path} has more than {_MAX_YAML_BYTES} bytes; expected a YOLO data.yaml")
        content = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not YAML: {' '.join(str(error).split())[:200]}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    if not isinstance(content, dict) or "names" not in content:
        raise DataError(f"{path}: expected a YOLO data.yaml, with 'names' and 'train', 'val' or 'test'")
    return content


def _read_names(content: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    names = content["names"]
    if isinstance(names, dict):
        if sorted(map(str, names)) != sorted(map(str, range(len(names)))):
            raise DataError(f"{path}: names must be numbered from 0 to {len(names) - 1}, found {list(names)!r:.80}")
        names = [value for _, value in sorted(names.items(), key=lambda item: int(item[0]))]
    if not isinstance(names, list) or not names or any(isinstance(name, (dict, list)) for name in names):
        raise DataError(f"{path}: names must be a list of class names, found {names!r:.80}")
    names = [str(name) for name in names]
    if len(set(names)) < len(names):
        raise DataError(f"{path}: names has a class twice: {names!r:.200}")
    if content.get("nc", len(names)) != len(names):
        raise DataError(f"{path}: nc is {content['nc']!r:.40}, but there are {len(names)} names")
    return tuple(names)


def _read_entries(value: Any, path: Path, split: str) -> tuple[str, ...]:
    entries = value if isinstance(value, list) else [] if value in (None, "") else [value]
    if not all(isinstance(entry, str) for entry in entries):
        raise DataError(f"{path}: {split} must be a folder, a text file or a list of them, found {value!r:.80}")
    return tuple(entries)


def _read_list(path: Path) -> list[Path]:
    """The images that a text file lists, relative to its folder."""
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return [path]
    return [Path(os.path.normpath(path.parent / line)) for line in read_lines(path)]


def _parse_line(line: str, *, num_classes: int, height: int, width: int) -> tuple[int, list[float], str | None]:
    """Label, polygon in pixels, and why the line cannot be used."""
    try:
        first, *values = map(float, line.split())
    except ValueError:
        return -1, [], NOT_NUMBERS
    if first != int(first if math.isfinite(first) else -1) or not 0 <= first < num_classes:
        return -1, [], UNKNOWN_CLASS
    if len(values) == _NUM_BOX - 1:
        return int(first), [], BOX_ALONE
    if len(values) < 6 or len(values) % 2:
        return int(first), [], NOT_NUMBERS
    if not all(-_SLACK <= value <= 1 + _SLACK for value in values):
        return int(first), [], NOT_RELATIVE
    return int(first), [value * (width, height)[index % 2] for index, value in enumerate(values)], None


def coco_content(
    data: YoloData, splits: Sequence[str], *, keep_unreadable: bool = False
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """A data set in the form of a COCO file, with file names that are absolute and image ids that are the names.

    Args:
        data: the data set.
        splits: those to read.
        keep_unreadable: an image without a readable header is an error.

    Returns:
        The content, and the ids of what is left out by the reason.

    Raises:
        DataError: see `YoloData.image_paths`; or an image cannot be read and `keep_unreadable` is set.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    problems: dict[str, list[str]] = {}
    paths = dict.fromkeys(path for split in splits for path in data.image_paths(split))
    for path in paths:
        name = data.name_of(path)
        try:
            height, width = image_size(path)
        except UnreadableImageError:
            if keep_unreadable:
                raise
            problems.setdefault(UNREADABLE_IMAGE, []).append(name)
            continue
        images.append(dict(id=name, file_name=os.path.abspath(path), height=height, width=width))
        for line in data.read_labels(path, height=height, width=width):
            if line.problem:
                problems.setdefault(line.problem, []).append(line.label_id)
            else:
                annotations.append(
                    dict(id=line.label_id, image_id=name, category_id=line.label, segmentation=[line.polygon])
                )
    categories = [dict(id=label, name=name) for label, name in enumerate(data.classes)]
    return dict(images=images, annotations=annotations, categories=categories), problems


class YoloSource:
    """A YOLO data set as a source of conversions."""

    def __init__(self, path: Path, report: ConversionReport) -> None:
        """Read the data.yaml.

        Raises:
            DataError: see `open_yaml`.
        """
        found = find_yaml(path)
        if found is None:
            raise DataError(f"{path}: expected a data.yaml there")
        self._data, self._report = open_yaml(found), report
        self.classes, self.splits = self._data.classes, self._data.splits

    def images(self, split: str) -> Iterator[ImageRecord]:
        """Read the images of a split, one after the other.

        Raises:
            DataError: see `YoloData.image_paths`.
        """
        for path in self._data.image_paths(split):
            try:
                height, width = image_size(path)
            except UnreadableImageError:
                self._report.lost[UNREADABLE_IMAGE].append(self._data.name_of(path))
                continue
            objects = []
            for line in self._data.read_labels(path, height=height, width=width):
                if line.problem:
                    self._report.lost[line.problem].append(line.label_id)
                    continue
                name = self.classes[line.label]
                objects.append(ObjectRecord(class_name=name, segmentation=[line.polygon], object_id=line.label_id))
            name = relative_name(path, _common_root(self._data, split))
            yield ImageRecord(name=name, path=path, height=height, width=width, objects=objects)


def _common_root(data: YoloData, split: str) -> Path:
    """The folder of a split, where it is one folder."""
    entries = data.entries[split]
    root = data.locate(entries[0], split)
    return root if len(entries) == 1 and root.is_dir() else data.root
