"""Reads a COCO annotation file or a YOLO data.yaml: its structure, its classes, and what can be used."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solo.datasets.coco.annotation_rules import is_id
from solo.datasets.coco.annotation_table import AnnotatedImage, AnnotationTable
from solo.datasets.coco.polygons import PolygonTable
from solo.datasets.coco.report import AnnotationReport
from solo.datasets.formats.yolo import UNREADABLE_IMAGE, coco_content, find_yaml, open_yaml
from solo.errors import DataError, missing_file_message, suggestion

_LONGEST_SIDE = 2**20  # that OpenCV reads


@dataclass(frozen=True, kw_only=True)
class CheckedAnnotations:
    """The usable content of an annotation file."""

    classes: tuple[str, ...]  # names; their indices are the labels
    category_ids: tuple[int, ...]  # of each class, as in the file
    categories: list[dict[str, Any]]  # the file's record of each class
    images: list[dict[str, Any]]  # the file's image records, in its order
    annotated: dict[Any, AnnotatedImage]  # by image id, in the same order
    further: dict[str, Any]  # what the file holds beside images, annotations and categories
    report: AnnotationReport  # what the checks found

    def annotated_images(self) -> Iterable[AnnotatedImage]:
        """All images with their usable annotations, as `CocoInstances.annotated_images` gives them."""
        return self.annotated.values()


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


def check_coco_file(path: str | os.PathLike[str]) -> AnnotationReport:
    """Check every annotation of a COCO file; `str()` of the report is meant to be read.

    Raises:
        DataError: The file is missing, no JSON, or no COCO instance file; the message names the file and the key.
    """
    return read_annotations(path).report


@_paused_garbage_collection()
def read_annotations(
    path: str | os.PathLike[str],
    *,
    classes: Sequence[str] | None = None,
    for_evaluation: bool = False,
    split: str | None = None,
) -> CheckedAnnotations:
    """Read a COCO instance file or a YOLO data.yaml, and keep what can be used: for training, testing and the tools.

    Args:
        path: The annotation file. `FOLDER/data.yaml#val` is one split of a YOLO data set; a folder that holds a
            data.yaml stands for that.
        classes: Names to use, in the order of their labels; None takes all, sorted by category id.
        for_evaluation: Keep objects that have no pixel, or a box that covers nothing of the image, as pycocotools does:
            they are ground truth that nothing can match, but nothing can be learned from them.
        split: Of a YOLO data set; None reads all of them.

    Raises:
        DataError: The file is missing, no JSON, or no COCO instance file, two images share an id, or a class is
            unknown; or see `solo.datasets.formats.yolo`.
    """
    path = Path(path)
    polygon_table = PolygonTable()
    content, problems = _read_content(path, split, polygon_table, for_evaluation=for_evaluation)
    images, annotations = content["images"], content.get("annotations") or []
    report = AnnotationReport(path=path, images=len(images), annotations=len(annotations))
    unreadable = problems.pop(UNREADABLE_IMAGE, [])
    if unreadable:
        report.remarks.append(f"{len(unreadable)} images left out, which cannot be read: {', '.join(unreadable)}")
    for kind, ids in problems.items():
        report.problems[kind] += ids
        report.annotations += len(ids)
    if content.get("annotations") is None:
        report.remarks.append(f"no key 'annotations'; the file has {sorted(content)}")
    categories = _without_unused_namesakes(_check_categories(content["categories"], path), annotations, report)
    selected = _select_categories(categories, classes, path)
    _check_images(images, path)
    labels = {category["id"]: None for category in categories}
    labels |= {category["id"]: label for label, category in enumerate(selected)}
    table = AnnotationTable(images, labels, polygon_table.check(), report)
    for annotation in annotations:
        table.append(annotation)
    return CheckedAnnotations(
        classes=tuple(category["name"] for category in selected),
        category_ids=tuple(category["id"] for category in selected),
        categories=selected,
        images=images,
        annotated=table.check(for_evaluation=for_evaluation),
        further={key: value for key, value in content.items() if key not in ("images", "annotations", "categories")},
        report=report,
    )


def _read_content(
    path: Path, split: str | None, polygons: PolygonTable, *, for_evaluation: bool
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """The content of a COCO file, polygons replaced by their indices, and what a YOLO data set has that is unusable."""
    file, _, chosen = path.name.partition("#")
    named = path.with_name(file) if chosen and not path.exists() else path
    yaml_file = find_yaml(named)
    if yaml_file is None:
        return _read_json(path, object_hook=polygons.extract_polygons), {}
    data = open_yaml(yaml_file)
    wanted = split or (chosen if named != path else None)
    splits = [wanted] if wanted else list(data.splits)
    content, problems = coco_content(data, splits, keep_unreadable=for_evaluation)
    for annotation in content["annotations"]:
        polygons.extract_polygons(annotation)
    return content, problems


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
        missing = [key for key in ("id", "file_name", "height", "width") if key not in image]
        if missing:
            raise DataError(f"annotation file {path}: image {image.get('id', dict(image))} has no {missing[0]!r}")
        if not is_id(image["id"]) or not isinstance(image["file_name"], str):
            raise DataError(
                f"annotation file {path}: image {image['id']} has file_name {image['file_name']!r}; expected a text, "
                "and a number or a text as id"
            )
        for key in ("height", "width"):
            if not isinstance(image[key], int) or not 0 < image[key] <= _LONGEST_SIDE:
                raise DataError(
                    f"annotation file {path}: image {image['id']} has {key} {image[key]!r}, expected an integer > 0 "
                    f"and <= {_LONGEST_SIDE}"
                )
        if image["id"] in seen:
            raise DataError(f"annotation file {path}: two images have the id {image['id']}")
        seen.add(image["id"])


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
    are_names = not isinstance(classes, str) and all(isinstance(name, str) for name in classes)
    if not are_names or not 0 < len(set(classes)) == len(classes):
        raise DataError(f"classes must be a list of different names, at least one, not {classes!r}")
    by_name: dict[str, list[dict[str, Any]]] = {}
    for category in categories:
        by_name.setdefault(category["name"], []).append(category)
    for name in classes:
        if name not in by_name:
            raise DataError(
                f"annotation file {path} has no class {name!r}{suggestion(name, by_name)}; it has {_shortened(by_name)}"
            )
        if len(by_name[name]) > 1:
            ids = [category["id"] for category in by_name[name]]
            raise DataError(f"annotation file {path}: {name!r} is the name of several categories, {ids}")
    return [by_name[name][0] for name in classes]


def _shortened(names: Iterable[str]) -> str:
    """Names, the first ten of many."""
    names = list(names)
    return ", ".join(map(repr, names[:10])) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
