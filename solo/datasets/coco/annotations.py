"""Reads a COCO annotation file and checks each annotation: what cannot be used is left out, counted and reported."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from solo.datasets.coco.instance_table import ImageInstances, InstanceTable
from solo.datasets.coco.polygon_table import CheckedPolygons, PolygonTable, unpack_polygons
from solo.errors import DataError, missing_file_message, suggestion
from solo.garbage_collection import paused_garbage_collection
from solo.masks.segmentations import EMPTY, SegmentationError, box_of_segmentation, check_rle

_EXAMPLES = 5
# What OpenCV reads.
_LONGEST_SIDE = 2**20

NO_SEGMENTATION = "without segmentation"
ZERO_AREA = "box of zero area"
OUTSIDE = "box outside the image"
UNKNOWN_CATEGORY = "unknown category id"
UNKNOWN_IMAGE = "unknown image id"
DUPLICATE = "annotation id used before"
MALFORMED_ID = "id is neither a number nor a text"
MALFORMED_BOX = "box is not [x, y, width, height]"


@dataclass(kw_only=True)
class AnnotationReport:
    """What the checks of one annotation file found.

    Attributes:
        path: The annotation file.
        images: Images in the file.
        annotations: Annotations in the file.
        used: Annotations of ordinary objects that are used.
        crowds: Annotations of crowd regions that are used (to be ignored, not learned).
        other_classes: Annotations of known categories that were not asked for.
        problems: Kind of problem -> ids of the annotations left out for it.
        clipped: Ids of annotations whose box reached over the border and was clipped; they are used.
        images_without_objects: Images that have no ordinary object.
        images_filtered: Images left out of training, because they have no object or are too small.
    """

    path: Path
    images: int = 0
    annotations: int = 0
    used: int = 0
    crowds: int = 0
    other_classes: int = 0
    problems: dict[str, list[Any]] = field(default_factory=dict)
    clipped: list[Any] = field(default_factory=list)
    images_without_objects: int = 0
    images_filtered: int = 0

    def add_problem(self, kind: str, annotation_id: Any) -> None:
        self.problems.setdefault(kind, []).append(annotation_id)

    @property
    def left_out(self) -> int:
        """Annotations that cannot be used."""
        return sum(map(len, self.problems.values()))

    @property
    def _box_doubt(self) -> str:
        """Boxes of corners, read as corner and size, reach over the border more often than not."""
        is_doubtful = len(self.clipped) > (self.used + self.crowds) / 2
        return " (is each bbox [x, y, width, height], and not [x1, y1, x2, y2]?)" if is_doubtful else ""

    def __str__(self) -> str:
        lines = [
            f"{self.path}: {self.images} images ({self.images_without_objects} without objects), "
            f"{self.annotations} annotations: {self.used} objects, {self.crowds} crowd regions"
        ]
        if self.other_classes:
            lines.append(f"  {self.other_classes} annotations of classes that were not asked for")
        if self.images_filtered:
            lines.append(f"  {self.images_filtered} images left out of training (no object, or too small)")
        if self.clipped:
            lines.append(
                f"  {len(self.clipped)} boxes clipped to the image: {_examples(self.clipped)}{self._box_doubt}"
            )
        lines += [f"  {len(ids)} left out, {kind}: {_examples(ids)}" for kind, ids in sorted(self.problems.items())]
        return "\n".join(lines)


def _examples(ids: Sequence[Any]) -> str:
    shown = ", ".join(map(str, ids[:_EXAMPLES]))
    return f"annotation {shown}" + (", ..." if len(ids) > _EXAMPLES else "")


@dataclass(frozen=True, kw_only=True)
class CheckedAnnotations:
    """The usable content of an annotation file.

    Attributes:
        classes: Class names; their positions are the labels.
        category_ids: The file's category id of each class.
        images: The file's image records, in its order.
        instances: Image id -> its usable instances.
        report: What was found on the way.
    """

    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    images: list[dict[str, Any]]
    instances: dict[Any, ImageInstances]
    report: AnnotationReport


def check_coco_file(path: str | os.PathLike[str]) -> AnnotationReport:
    """Check every annotation of a COCO file; `str()` of the report is meant to be read.

    Raises:
        DataError: The file is missing, no JSON, or no COCO instance file; the message names the file and the key.
    """
    return read_annotations(path).report


def read_annotations(path: str | os.PathLike[str], *, classes: Sequence[str] | None = None) -> CheckedAnnotations:
    """Read a COCO instance file and keep what can be used.

    Args:
        path: The annotation file.
        classes: Names to use, in the order of their labels; None takes all, sorted by category id.

    Raises:
        DataError: The file is missing, no JSON, or no COCO instance file, two images share an id, or a class is
            unknown.
    """
    with paused_garbage_collection():
        return _read_annotations(Path(path), classes)


def _read_annotations(path: Path, classes: Sequence[str] | None) -> CheckedAnnotations:
    polygon_table = PolygonTable()
    content = _read_json(path, object_hook=polygon_table.take_from)
    polygons = polygon_table.checked()
    selected, all_ids = _select_categories(content["categories"], classes, path)
    images = _images_by_id(content["images"], path)
    report = AnnotationReport(path=path, images=len(images), annotations=len(content["annotations"]))
    labels = {category_id: label for label, (_, category_id) in enumerate(selected)}
    table = InstanceTable(images)
    seen: set[Any] = set()
    for annotation in content["annotations"]:
        annotation_id = annotation.get("id", "(no id)")
        image_id, category_id = annotation.get("image_id"), annotation.get("category_id")
        image = images.get(image_id) if _is_id(image_id) else None
        if not _is_id(annotation_id):
            report.add_problem(MALFORMED_ID, annotation_id)
            continue
        if annotation_id in seen and "id" in annotation:
            report.add_problem(DUPLICATE, annotation_id)
        elif image is None:
            report.add_problem(UNKNOWN_IMAGE, annotation_id)
        elif not _is_id(category_id) or category_id not in all_ids:
            report.add_problem(UNKNOWN_CATEGORY, annotation_id)
        elif annotation["category_id"] not in labels:
            report.other_classes += 1
        else:
            _keep_if_usable(annotation, image, labels, polygons, table, report)
        seen.add(annotation_id)
    for annotation_id, is_crowd in table.remove_empty(polygons):
        report.add_problem(EMPTY, annotation_id)
        report.crowds -= is_crowd
        report.used -= not is_crowd
    instances = table.of_images(polygons)
    report.images_without_objects = sum(all(found.ignore_flags) for found in instances.values())
    names, ids = tuple(name for name, _ in selected), tuple(category_id for _, category_id in selected)
    return CheckedAnnotations(
        classes=names, category_ids=ids, images=list(images.values()), instances=instances, report=report
    )


def _is_id(value: Any) -> bool:
    return isinstance(value, (int, float, str))


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
    for key in ("images", "annotations", "categories"):
        if key not in content:
            raise DataError(f"annotation file {path} has no key {key!r}; it has {sorted(content)}")
        if not isinstance(content[key], list) or not all(isinstance(record, dict) for record in content[key]):
            raise DataError(f"annotation file {path}: {key!r} must be a list of objects")
    return content


def _images_by_id(records: Sequence[dict[str, Any]], path: Path) -> dict[Any, dict[str, Any]]:
    images: dict[Any, dict[str, Any]] = {}
    for record in records:
        image_id = _image_id(record, path)
        if image_id in images:
            raise DataError(f"annotation file {path}: two images have the id {image_id}")
        images[image_id] = record
    return images


def _image_id(image: Mapping[str, Any], path: Path) -> Any:
    """Id of an image record whose needed keys are there and sound."""
    for key in ("id", "file_name", "height", "width"):
        if key not in image:
            raise DataError(f"annotation file {path}: image {image.get('id', dict(image))} has no {key!r}")
    if not _is_id(image["id"]) or not isinstance(image["file_name"], str):
        raise DataError(
            f"annotation file {path}: image {image['id']} has file_name {image['file_name']!r}; expected a text, and a "
            "number or a text as id"
        )
    for key in ("height", "width"):
        side = image[key]
        if not isinstance(side, int) or not 0 < side <= _LONGEST_SIDE:
            raise DataError(
                f"annotation file {path}: image {image['id']} has {key} {side!r}, expected a whole number > 0 and "
                f"<= {_LONGEST_SIDE}"
            )
    return image["id"]


def _select_categories(
    categories: Sequence[Mapping[str, Any]], classes: Sequence[str] | None, path: Path
) -> tuple[list[tuple[str, int]], set[int]]:
    """(name, category id) of the classes to use, and all category ids of the file."""
    for category in categories:
        if not isinstance(category.get("id"), int) or not isinstance(category.get("name"), str):
            raise DataError(
                f"annotation file {path}: category {dict(category)} needs 'id' and 'name', a number and a text"
            )
    by_id = sorted((int(category["id"]), str(category["name"])) for category in categories)
    all_ids = {category_id for category_id, _ in by_id}
    if len(all_ids) != len(by_id):
        raise DataError(f"annotation file {path}: two categories have the same id")
    if not by_id:
        raise DataError(f"annotation file {path} has no categories")
    if classes is None:
        return [(name, category_id) for category_id, name in by_id], all_ids
    if isinstance(classes, str):
        raise DataError(f"classes must be a list of names, not the string {classes!r}")
    ids_of_names = {name: category_id for category_id, name in by_id}
    for name in classes:
        if not isinstance(name, str):
            raise DataError(f"classes must be a list of names, not {list(classes)}")
        if name not in ids_of_names:
            raise DataError(f"annotation file {path} has no class {name!r}{suggestion(name, ids_of_names)}")
        ids = [category_id for category_id, other in by_id if other == name]
        if len(ids) > 1:
            raise DataError(f"annotation file {path}: {name!r} is the name of several categories, {ids}")
    if not classes or len(set(classes)) != len(classes):
        raise DataError(f"classes must be different names, at least one, not {list(classes)}")
    return [(name, ids_of_names[name]) for name in classes], all_ids


def _keep_if_usable(
    annotation: Mapping[str, Any],
    image: dict[str, Any],
    labels: Mapping[int, int],
    polygons: CheckedPolygons,
    kept: InstanceTable,
    report: AnnotationReport,
) -> None:
    """Append the instance to `kept`, or count in the report why it cannot be used."""
    annotation_id = annotation.get("id", "(no id)")
    is_crowd = bool(annotation.get("iscrowd", 0))
    height, width = image["height"], image["width"]
    segmentation = annotation.get("segmentation")
    if not segmentation:
        report.add_problem(NO_SEGMENTATION, annotation_id)
        return
    try:
        if isinstance(segmentation, range):
            segmentation = polygons.usable(segmentation)
        else:
            check_rle(segmentation, height=height, width=width)
        box = _box(annotation, segmentation, polygons, height=height, width=width)
    except SegmentationError as problem:
        report.add_problem(problem.kind, annotation_id)
        return
    x1, y1, x2, y2 = box
    clipped = [max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))]
    if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
        report.add_problem(OUTSIDE, annotation_id)
        return
    # COCO's own boxes stick out by rounding, so only what moves by more than that is worth a word.
    if x1 < -1.0 or y1 < -1.0 or x2 > width + 1.0 or y2 > height + 1.0:
        report.clipped.append(annotation_id)
    label = labels[annotation["category_id"]]
    kept.append(
        annotation_id=annotation_id, image=image, box=clipped, label=label, is_crowd=is_crowd, mask=segmentation
    )
    report.crowds += is_crowd
    report.used += not is_crowd


def _box(
    annotation: Mapping[str, Any], segmentation: Any, polygons: CheckedPolygons, *, height: int, width: int
) -> list[float]:
    """x1 y1 x2 y2 of an annotation, from its segmentation when it has no box."""
    box = annotation.get("bbox")
    if box is None:
        if not isinstance(segmentation, dict):
            segmentation = unpack_polygons(polygons.packed(segmentation))
        x, y, box_width, box_height = box_of_segmentation(segmentation, height=height, width=width)
    else:
        if not isinstance(box, list):
            raise SegmentationError(MALFORMED_BOX)
        try:
            x, y, box_width, box_height = map(float, box)
        except (TypeError, ValueError, OverflowError):
            raise SegmentationError(MALFORMED_BOX) from None
    if not (box_width > 0 and box_height > 0 and x + box_width < float("inf") and y + box_height < float("inf")):
        raise SegmentationError(ZERO_AREA)
    return [x, y, x + box_width, y + box_height]
