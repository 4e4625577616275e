"""Writes data sets: COCO and YOLO, image by image."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from solo.datasets.formats.polygons import compare, join_parts, polygons_from_rle
from solo.datasets.formats.records import ConversionReport, ImageRecord, ObjectRecord, runs_of, to_rles
from solo.errors import OutputError
from solo.masks.segmentations import EMPTY, SegmentationError

Masks: TypeAlias = Literal["as-is", "rle", "polygons"]
ImageFiles: TypeAlias = Literal["copy", "link"]

NO_CROWDS = "crowd region, which YOLO cannot hold"
_DIGITS = 10


class Writer(Protocol):
    """Writes the images of one split after the other."""

    def start_split(self, split: str) -> None:
        """Begin a split; the images that follow belong to it."""

    def write(self, image: ImageRecord) -> None:
        """Write an image and its objects."""

    def finish(self) -> None:
        """Write what is left."""


class CocoWriter:
    """Writes `annotations/instances_SPLIT.json` and `SPLIT/`; or one json file alone, without images."""

    def __init__(
        self, target: Path, *, classes: Sequence[str], report: ConversionReport, masks: Masks, images: ImageFiles | None
    ) -> None:
        """Begin.

        Args:
            target: the folder, or the json file where `images` is None.
            classes: names, whose categories get ids from 1.
            report: counts what is written and what is not.
            masks: "as-is" keeps polygons and RLEs.
            images: how image files are taken over; None leaves them where they are.
        """
        self._target, self._report, self._masks, self._image_files = target, report, masks, images
        self._category_ids = {name: number for number, name in enumerate(classes, 1)}
        self._file: Any = None
        self._images: list[dict[str, Any]] = []

    def start_split(self, split: str) -> None:
        """Begin the file of a split."""
        self.finish()
        path = self._target / "annotations" / f"instances_{split}.json" if self._image_files else self._target
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file, self._images, self._num_annotations = path.open("wb"), [], 0
        self._folder, self._names = self._target / split, ImageNames()
        self._file.write(b'{"annotations": [')

    def write(self, image: ImageRecord) -> None:
        """Write an image and its objects."""
        name = self._names.take(image.name) if self._image_files else image.name
        if self._image_files:
            place_image(image, self._folder / name, how=self._image_files)
        image_id = len(self._images) + 1
        self._images.append(dict(id=image_id, file_name=name, height=image.height, width=image.width))
        usable = select_usable(image, self._report)
        converted = self._convert(usable, image)
        runs = runs_of(converted, height=image.height, width=image.width)
        for record, area, (x1, y1, x2, y2) in zip(
            converted, runs.areas().tolist(), runs.tight_boxes().tolist(), strict=True
        ):
            self._num_annotations += 1
            annotation = dict(
                id=self._num_annotations,
                image_id=image_id,
                category_id=self._category_ids[record.class_name],
                iscrowd=int(record.is_crowd),
                area=area,
                bbox=[x1, y1, x2 - x1, y2 - y1],
                segmentation=record.segmentation,
            )
            separator = b", " if self._num_annotations > 1 else b""
            self._file.write(separator + json.dumps(annotation).encode())
        count(converted, self._report)

    def finish(self) -> None:
        """End the file of the split."""
        if self._file is None:
            return
        categories = [dict(id=number, name=name) for name, number in self._category_ids.items()]
        rest = json.dumps(dict(images=self._images, categories=categories))
        self._file.write(b"], " + rest[1:].encode())
        self._file.close()
        self._file = None

    def _convert(self, objects: list[ObjectRecord], image: ImageRecord) -> list[ObjectRecord]:
        """Objects with masks of the kind asked for; crowd regions stay RLEs."""
        size = dict(height=image.height, width=image.width)
        if self._masks == "rle":
            return [
                replace(each, segmentation=rle) for each, rle in zip(objects, to_rles(objects, **size), strict=True)
            ]
        if self._masks == "as-is":
            return objects
        chosen = [n for n, each in enumerate(objects) if not isinstance(each.segmentation, list) and not each.is_crowd]
        before = [objects[number] for number in chosen]
        rles = to_rles(before, **size)
        after = [replace(each, segmentation=polygons_from_rle(rle)) for each, rle in zip(before, rles, strict=True)]
        record_ious(before, compare(before, after, **size), self._report)
        changed = dict(zip(chosen, after, strict=True))
        return [changed.get(number, each) for number, each in enumerate(objects)]


class YoloWriter:
    """Writes `images/SPLIT/`, `labels/SPLIT/` and `data.yaml`."""

    def __init__(self, target: Path, *, classes: Sequence[str], report: ConversionReport, images: ImageFiles) -> None:
        """Begin; see `CocoWriter`."""
        self._target, self._report, self._image_files = target, report, images
        self._classes, self._splits = list(classes), list[str]()
        self._labels = {name: label for label, name in enumerate(classes)}

    def start_split(self, split: str) -> None:
        """Begin a split; images of one name but for the suffix would share a label file."""
        self._splits.append(split)
        self._split, self._names = split, ImageNames(unique_stems=True)

    def write(self, image: ImageRecord) -> None:
        """Write an image and its objects, one polygon a line."""
        name = self._names.take(image.name)
        place_image(image, self._target / "images" / self._split / name, how=self._image_files)
        usable = select_usable(image, self._report)
        crowds = [each.object_id for each in usable if each.is_crowd]
        if crowds:
            self._report.lost[NO_CROWDS] += crowds
            usable = [each for each in usable if not each.is_crowd]
        written = single_polygons(usable, height=image.height, width=image.width, report=self._report)
        lines = [
            " ".join([str(self._labels[each.class_name]), *_relative(each, height=image.height, width=image.width)])
            for each in written
        ]
        path = (self._target / "labels" / self._split / name).with_suffix(".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        count(written, self._report)

    def finish(self) -> None:
        """Write the data.yaml."""
        import yaml

        paths = {split: f"images/{split}" for split in self._splits}
        content = {**paths, "nc": len(self._classes), "names": dict(enumerate(self._classes))}
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        (self._target / "data.yaml").write_text(text, encoding="utf-8")


class ImageNames:
    """Names of image files within a folder: each once, and none that leads out of it."""

    def __init__(self, *, unique_stems: bool = False) -> None:
        """Begin without names; with `unique_stems` two names differ in more than the suffix."""
        self._unique_stems, self._taken = unique_stems, set[str]()

    def take(self, name: str) -> str:
        """The name, or one with a number if it is taken."""
        parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("..", ".", "/")]
        path = PurePosixPath(*(parts or ["image"]))
        free, number = path, 1
        while self._key(free) in self._taken:
            number += 1
            free = path.with_name(f"{path.stem}-{number}{path.suffix}")
        self._taken.add(self._key(free))
        return free.as_posix()

    def _key(self, path: PurePosixPath) -> str:
        return (path.with_suffix("") if self._unique_stems else path).as_posix().lower()


def place_image(image: ImageRecord, target: Path, *, how: ImageFiles) -> None:
    """Copy the file of an image, or link to it.

    Raises:
        OutputError: that fails.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if image.content is not None:
            target.write_bytes(image.content)
        elif how == "link":
            target.symlink_to(os.path.abspath(image.path))
        else:
            shutil.copyfile(image.path, target)
    except OSError as error:
        raise OutputError(f"image {image.path} cannot be written as {target}: {error.strerror}") from None


def select_usable(image: ImageRecord, report: ConversionReport) -> list[ObjectRecord]:
    """The objects that have a pixel in the image; the others are counted."""
    size = dict(height=image.height, width=image.width)
    objects = list(image.objects)
    try:
        areas = runs_of(objects, **size).areas().tolist()
    except SegmentationError:
        areas = [_area(each, report, **size) for each in objects]
    for each, area in zip(objects, areas, strict=True):
        if area == 0:
            report.lost[EMPTY].append(each.object_id)
    return [each for each, area in zip(objects, areas, strict=True) if area > 0]


def _area(record: ObjectRecord, report: ConversionReport, *, height: int, width: int) -> int:
    """The pixels of one object; -1 for one that cannot be used, which is counted."""
    try:
        return int(runs_of([record], height=height, width=width).areas()[0])
    except SegmentationError as problem:
        report.lost[problem.kind].append(record.object_id)
        return -1


def single_polygons(
    objects: Sequence[ObjectRecord], *, height: int, width: int, report: ConversionReport
) -> list[ObjectRecord]:
    """Objects as one polygon each, inside the image and rounded as they are written; IoUs go to the report.

    Where the polygons of an object, joined and moved inside the image, are not its pixels, the polygon is traced along
    the edges of these.
    """
    size = dict(height=height, width=width)
    joined = [
        replace(each, segmentation=[_inside(join_parts(each.segmentation), **size)])
        if isinstance(each.segmentation, list)
        else None
        for each in objects
    ]
    known = [number for number, each in enumerate(joined) if each is not None]
    kept: list[Any] = [joined[number] for number in known]
    ious = dict(zip(known, compare([objects[number] for number in known], kept, **size), strict=True))
    traced = [number for number in range(len(objects)) if ious.get(number) != 1.0]
    rles = to_rles([objects[number] for number in traced], **size)
    for number, rle in zip(traced, rles, strict=True):
        joined[number] = replace(objects[number], segmentation=[_inside(join_parts(polygons_from_rle(rle)), **size)])
    done: list[Any] = joined
    record_ious(objects, compare(objects, done, **size), report)
    return done


def _inside(polygon: list[float], *, height: int, width: int) -> list[float]:
    points = np.array(polygon).reshape(-1, 2)
    limit = np.array([width, height], np.float64)
    relative = np.round(np.clip(points / limit, 0, 1), _DIGITS)
    return (relative * limit).ravel().tolist()


def _relative(record: ObjectRecord, *, height: int, width: int) -> list[str]:
    """The numbers of a line from the coordinates, which `_inside` has rounded."""
    segmentation: Any = record.segmentation
    (polygon,) = segmentation
    return [f"{value / (width, height)[index % 2]:.{_DIGITS}g}" for index, value in enumerate(polygon)]


def record_ious(objects: Sequence[ObjectRecord], ious: Sequence[float], report: ConversionReport) -> None:
    """Count masks that were written as polygons, and those that changed."""
    report.compared += len(ious)
    report.changed += [each.object_id for each, iou in zip(objects, ious, strict=True) if iou < 1]
    report.lowest_iou = min([report.lowest_iou, *ious])


def count(objects: Sequence[ObjectRecord], report: ConversionReport) -> None:
    """Count an image and its objects."""
    crowds = sum(each.is_crowd for each in objects)
    report.images += 1
    report.crowds += crowds
    report.objects += len(objects) - crowds
