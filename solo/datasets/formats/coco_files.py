"""COCO files as a source of conversions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from solo.datasets.coco.annotations import CheckedAnnotations, read_annotations
from solo.datasets.coco.image_files import find_missing
from solo.datasets.formats.records import ConversionReport, ImageRecord, ObjectRecord
from solo.errors import DataError
from solo.masks.segmentations import unpack_segmentation

NO_IMAGE = "image is missing"
_SPLIT_NAMES = ("train", "val", "valid", "test")
_LOOKED_AT = 20
_START_BYTES = 2**16


class CocoSource:
    """One COCO file, or a folder with one for each split."""

    def __init__(self, path: Path, report: ConversionReport) -> None:
        """Find the files and read the class names.

        Raises:
            DataError: there is none, or they have different classes.
        """
        self._root, self._report = path if path.is_dir() else path.parent, report
        files = find_files(path)
        if not files:
            raise DataError(f"{path}: expected a COCO annotation file there")
        self._files = _by_split(files)
        self.splits = tuple(self._files)
        # One file is in memory at a time.
        names = {split: read_annotations(file).classes for split, file in self._files.items()}
        self.classes = tuple(dict.fromkeys(name for found in names.values() for name in found))

    def images(self, split: str) -> Iterator[ImageRecord]:
        """Read the file of a split; what training leaves out is left out."""
        file = self._files[split]
        checked = read_annotations(file)
        for kind, ids in checked.report.problems.items():
            self._report.lost[kind] += ids
        self._report.remarks += [f"{file.name}: {remark}" for remark in checked.report.remarks]
        folder = self._find_images(split, checked)
        for record, image in zip(checked.images, checked.annotated_images(), strict=True):
            instances = image.instances
            columns = zip(image.annotation_ids, instances.labels, instances.ignore_flags, instances.masks, strict=True)
            path = folder / record["file_name"]
            if not path.is_file():
                self._report.lost[NO_IMAGE].append(record["file_name"])
                continue
            objects = [
                ObjectRecord(
                    class_name=checked.classes[label],
                    segmentation=unpack_segmentation(mask),
                    object_id=annotation_id,
                    is_crowd=bool(is_crowd),
                )
                for annotation_id, label, is_crowd, mask in columns
            ]
            yield ImageRecord(
                name=record["file_name"], path=path, height=image.height, width=image.width, objects=objects
            )

    def _find_images(self, split: str, checked: CheckedAnnotations) -> Path:
        """The folder below which the images are."""
        names = [image["file_name"] for image in checked.images[:_LOOKED_AT]]
        root = self._root.parent if self._root.name == "annotations" else self._root
        folders = [split, f"{split}2017", f"images/{split}", f"images/{split}2017", "images", "", f"{split}/images"]
        candidates = [root / folder for folder in folders] + [self._files[split].parent]
        candidates += [self._files[split].parent / "images", root / self._files[split].stem.removeprefix("instances_")]
        for folder in candidates:
            if len(find_missing(str(folder / name) for name in names)) < max(1, len(names)):
                return folder
        raise DataError(
            f"annotation file {self._files[split]}: none of its images, such as {names[0] if names else '-'}, is in "
            f"{', '.join(dict.fromkeys(str(folder) for folder in candidates))}"
        )


def find_files(path: Path) -> list[Path]:
    """The COCO files that a path is, or that a folder has directly, in `annotations` or in a folder for each split."""
    if path.is_file():
        return [path] if looks_like_coco(path) else []
    places = [path, path / "annotations", *(path / name for name in _SPLIT_NAMES)]
    found = [file for place in places if place.is_dir() for file in sorted(place.glob("*.json"))]
    return [file for file in found if looks_like_coco(file)]


def looks_like_coco(file: Path) -> bool:
    """Whether a json file has lists `images` and `categories` at its top; files of key points or captions have not."""
    if file.suffix.lower() != ".json" or file.stem.startswith(("captions", "person_keypoints", "image_info")):
        return False
    try:
        with file.open("rb") as opened:
            start = opened.read(_START_BYTES)
        if not re.search(rb'"(images|annotations|categories|info)"\s*:', start) or b'"shapes"' in start:
            return False
        if len(start) < _START_BYTES:
            content = json.loads(start)
            return isinstance(content, dict) and {"images", "categories"} <= content.keys()
    except (OSError, ValueError, RecursionError):
        return False
    return True


def _by_split(files: list[Path]) -> dict[str, Path]:
    """Files by split: the split is in the name of the file or of its folder; a file alone is "train" else.

    Raises:
        DataError: two files are of one split.
    """
    found: dict[str, Path] = {}
    for file in files:
        words = re.split(r"[^a-z]+", f"{file.parent.name} {file.stem}".lower())
        split = next((name for name in _SPLIT_NAMES if name in words), None)
        split = {"valid": "val", None: "train" if len(files) == 1 else file.stem}.get(split, split)
        if split in found:
            raise DataError(f"{found[split]} and {file} are both of split {split}; give one of them")
        found[str(split)] = file
    return found
