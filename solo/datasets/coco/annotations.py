"""Reads a COCO annotation file: its structure, its classes, and the annotations that can be used."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solo.datasets.coco.annotation_rules import (
    COUNTS_AS_BYTES,
    NO_SEGMENTATION,
    REPEATED_ID,
    UNKNOWN_CATEGORY,
    UNKNOWN_IMAGE,
    UNREADABLE_AREA,
    UnusableAnnotationError,
    is_id,
    read_area,
    read_box,
    read_crowd_flag,
    read_rle,
)
from solo.datasets.coco.annotation_table import AnnotatedImage, AnnotationTable
from solo.datasets.coco.polygons import POINT_LISTS, CheckedPolygons, PolygonTable
from solo.datasets.coco.report import AnnotationReport
from solo.errors import DataError, missing_file_message, suggestion
from solo.masks.segmentations import SegmentationError

_LONGEST_SIDE = 2**20  # that OpenCV reads
_NO_ID = "(no id)"


@dataclass(frozen=True, kw_only=True)
class CheckedAnnotations:
    """The usable content of an annotation file.

    Attributes:
        classes: Class names; their indices are the labels.
        category_ids: The file's category id of each class.
        categories: The file's record of each class.
        images: The file's image records, in its order.
        annotated: Image id -> the image with its usable annotations, in the same order.
        further: What the file holds beside images, annotations and categories.
        report: What the checks found.
    """

    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    categories: list[dict[str, Any]]
    images: list[dict[str, Any]]
    annotated: dict[Any, AnnotatedImage]
    further: dict[str, Any]
    report: AnnotationReport

    def annotated_images(self) -> Iterable[AnnotatedImage]:
        """All images with their usable annotations, as `CocoInstances.annotated_images` gives them."""
        return self.annotated.values()


def check_coco_file(path: str | os.PathLike[str]) -> AnnotationReport:
    """Check every annotation of a COCO file; `str()` of the report is meant to be read.

    Raises:
        DataError: The file is missing, no JSON, or no COCO instance file; the message names the file and the key.
    """
    return read_annotations(path).report


def read_annotations(
    path: str | os.PathLike[str], *, classes: Sequence[str] | None = None, for_evaluation: bool = False
) -> CheckedAnnotations:
    """Read a COCO instance file and keep what can be used: for training, for testing and for the tools.

    Args:
        path: The annotation file.
        classes: Names to use, in the order of their labels; None takes all, sorted by category id.
        for_evaluation: Keep objects that have no pixel, or a box that covers nothing of the image, as pycocotools does:
            they are ground truth that nothing can match, but nothing can be learned from them.

    Raises:
        DataError: The file is missing, no JSON, or no COCO instance file, two images share an id, or a class is
            unknown.
    """
    with _paused_garbage_collection():
        return _read_annotations(Path(path), classes, for_evaluation=for_evaluation)


@contextmanager
def _paused_garbage_collection() -> Iterator[None]:
    """Disable cyclic garbage collection during bulk allocation; restore it on exit.

    Each of its passes visits the millions of lists and dicts that are being made, which takes longer than making them.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _read_annotations(path: Path, classes: Sequence[str] | None, *, for_evaluation: bool) -> CheckedAnnotations:
    polygon_table = PolygonTable()
    content = _read_json(path, object_hook=polygon_table.extract_polygons)
    polygons = polygon_table.check()
    annotations = content.get("annotations") or []
    report = AnnotationReport(path=path, images=len(content["images"]), annotations=len(annotations))
    if content.get("annotations") is None:
        report.remarks.append(f"no key 'annotations'; the file has {sorted(content)}")
    categories = _without_unused_namesakes(_check_categories(content["categories"], path), annotations, report)
    selected = _select_categories(categories, classes, path)
    _check_images(content["images"], path)
    table = AnnotationTable(content["images"])
    checker = _AnnotationChecker(content["images"], categories, selected, polygons, table, report)
    for annotation in annotations:
        checker.check(annotation)
    return CheckedAnnotations(
        classes=tuple(category["name"] for category in selected),
        category_ids=tuple(category["id"] for category in selected),
        categories=selected,
        images=content["images"],
        annotated=table.check(polygons, report, for_evaluation=for_evaluation),
        further={key: value for key, value in content.items() if key not in ("images", "annotations", "categories")},
        report=report,
    )


class _AnnotationChecker:
    """Reads the fields of annotations, one annotation after the other."""

    def __init__(
        self,
        images: Sequence[Mapping[str, Any]],
        categories: Sequence[Mapping[str, Any]],
        selected: Sequence[Mapping[str, Any]],
        polygons: CheckedPolygons,
        table: AnnotationTable,
        report: AnnotationReport,
    ) -> None:
        self._images = {image["id"]: (index, image["height"], image["width"]) for index, image in enumerate(images)}
        self._all_ids = {category["id"] for category in categories}
        self._labels = {category["id"]: label for label, category in enumerate(selected)}
        self._polygons, self._table, self._report = polygons, table, report
        self._seen: set[Any] = set()

    def check(self, annotation: Mapping[str, Any]) -> None:
        """Append an annotation to the table, or count in the report why it cannot be used."""
        annotation_id = annotation.get("id", _NO_ID)
        try:
            self._append(annotation, annotation_id)
        except (UnusableAnnotationError, SegmentationError) as problem:
            self._report.add_problem(problem.kind, annotation_id)

    def _append(self, annotation: Mapping[str, Any], annotation_id: Any) -> None:
        image_id, category_id = annotation.get("image_id"), annotation.get("category_id")
        if not is_id(image_id) or image_id not in self._images:
            raise UnusableAnnotationError(UNKNOWN_IMAGE)
        if not is_id(category_id) or category_id not in self._all_ids:
            raise UnusableAnnotationError(UNKNOWN_CATEGORY)
        if category_id not in self._labels:
            self._report.other_classes += 1
            return
        image, height, width = self._images[image_id]
        is_crowd = read_crowd_flag(annotation.get("iscrowd"))
        segmentation = annotation.get("segmentation")
        if not segmentation:
            raise UnusableAnnotationError(NO_SEGMENTATION)
        has_pixel, repairs = True, []
        if isinstance(segmentation, range):
            mask: Any = self._polygons.usable(segmentation)
            if segmentation.start in self._polygons.from_points:
                repairs.append(POINT_LISTS)
        else:
            mask, has_pixel, was_bytes = read_rle(segmentation, height=height, width=width)
            if was_bytes:
                repairs.append(COUNTS_AS_BYTES)
        box = annotation.get("bbox")
        area = annotation.get("area")
        pixels = read_area(area)
        if pixels != pixels and area is not None:  # NaN
            repairs.append(UNREADABLE_AREA)
        self._table.append(
            annotation_id=annotation_id,
            image=image,
            label=self._labels[category_id],
            is_crowd=is_crowd,
            box=None if box is None else read_box(box),
            area=pixels,
            mask=mask,
            has_pixel=has_pixel,
        )
        if is_id(annotation_id) and annotation_id is not _NO_ID:
            if annotation_id in self._seen:
                repairs.append(REPEATED_ID)
            self._seen.add(annotation_id)
        for kind in repairs:
            self._report.add_repair(kind, annotation_id)


def _read_json(path: Path, *, object_hook: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """The file's top-level object, with the three COCO lists in it."""
    if not path.is_file():
        raise DataError(missing_file_message(path, kind="annotation file"))
    try:
        content = json.loads(path.read_bytes(), object_hook=object_hook)
    except (ValueError, RecursionError) as error:
        raise DataError(f"annotation file {path} is not JSON: {error}") from None
    except OSError as error:
        raise DataError(f"annotation file {path} cannot be read: {error.strerror}") from None
    if not isinstance(content, dict):
        raise DataError(f"annotation file {path}: expected an object with 'images', 'annotations' and 'categories'")
    for key in ("images", "categories"):
        if key not in content:
            raise DataError(f"annotation file {path} has no key {key!r}; it has {sorted(content)}")
    for key in ("images", "annotations", "categories"):
        records = content.get(key)
        if key == "annotations" and records is None:
            continue  # a file of images to predict
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            raise DataError(f"annotation file {path}: {key!r} must be a list of objects")
    return content


def _check_images(images: Sequence[dict[str, Any]], path: Path) -> None:
    """Check that the records have what is needed, and different ids."""
    seen: set[Any] = set()
    for image in images:
        _check_image(image, path)
        if image["id"] in seen:
            raise DataError(f"annotation file {path}: two images have the id {image['id']}")
        seen.add(image["id"])


def _check_image(image: Mapping[str, Any], path: Path) -> None:
    """Check the keys of an image record that are needed."""
    for key in ("id", "file_name", "height", "width"):
        if key not in image:
            raise DataError(f"annotation file {path}: image {image.get('id', dict(image))} has no {key!r}")
    if not is_id(image["id"]) or not isinstance(image["file_name"], str):
        raise DataError(
            f"annotation file {path}: image {image['id']} has file_name {image['file_name']!r}; expected a text, and a "
            "number or a text as id"
        )
    for key in ("height", "width"):
        side = image[key]
        if not isinstance(side, int) or not 0 < side <= _LONGEST_SIDE:
            raise DataError(
                f"annotation file {path}: image {image['id']} has {key} {side!r}, expected an integer > 0 and "
                f"<= {_LONGEST_SIDE}"
            )


def _check_categories(categories: Sequence[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    """The category records, sorted by their ids."""
    for category in categories:
        if not isinstance(category.get("id"), int) or not isinstance(category.get("name"), str):
            raise DataError(f"annotation file {path}: category {category} needs 'id' and 'name', a number and a text")
    if len({category["id"] for category in categories}) != len(categories):
        raise DataError(f"annotation file {path}: two categories have the same id")
    if not categories:
        raise DataError(f"annotation file {path} has no categories")
    return sorted(categories, key=lambda category: int(category["id"]))


def _without_unused_namesakes(
    categories: list[dict[str, Any]], annotations: Sequence[Mapping[str, Any]], report: AnnotationReport
) -> list[dict[str, Any]]:
    """Leave out each category without annotations whose name another one has, as the root in exports of Roboflow.

    Of several without annotations the last one stays.
    """
    last = {category["name"]: category["id"] for category in categories}
    if len(last) == len(categories):
        return categories
    used = {annotation["category_id"] for annotation in annotations if is_id(annotation.get("category_id"))}
    used_names = {category["name"] for category in categories if category["id"] in used}
    kept = []
    for category in categories:
        name, category_id = category["name"], category["id"]
        if category_id in used or (name not in used_names and category_id == last[name]):
            kept.append(category)
        else:
            report.remarks.append(f"category {category_id} ignored: no annotation, and {name!r} is another one's name")
    return kept


def _select_categories(
    categories: list[dict[str, Any]], classes: Sequence[str] | None, path: Path
) -> list[dict[str, Any]]:
    """The records of the classes to use, in the order of their labels."""
    if classes is None:
        return categories
    if isinstance(classes, str):
        raise DataError(f"classes must be a list of names, not the string {classes!r}")
    by_name: dict[str, list[dict[str, Any]]] = {}
    for category in categories:
        by_name.setdefault(category["name"], []).append(category)
    for name in classes:
        if not isinstance(name, str):
            raise DataError(f"classes must be a list of names, not {list(classes)}")
        if name not in by_name:
            raise DataError(
                f"annotation file {path} has no class {name!r}{suggestion(name, by_name)}; it has {_shortened(by_name)}"
            )
        if len(by_name[name]) > 1:
            ids = [category["id"] for category in by_name[name]]
            raise DataError(f"annotation file {path}: {name!r} is the name of several categories, {ids}")
    if not classes or len(set(classes)) != len(classes):
        raise DataError(f"classes must be different names, at least one, not {list(classes)}")
    return [by_name[name][0] for name in classes]


def _shortened(names: Iterable[str]) -> str:
    """Names, the first ten of many."""
    names = list(names)
    return ", ".join(map(repr, names[:10])) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
