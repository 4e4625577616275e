"""Read detections from files: COCO's results format (`solo test --out`), or `predictions.json` of `solo predict`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from solo.datasets.coco.annotations import CheckedAnnotations
from solo.errors import DataError, missing_file_message, printable
from solo.evaluation.detections import ImageDetections
from solo.masks.rle import RLE, rle_areas

KEYS = ("image_id", "category_id", "score", "segmentation")


def read_results(path: str | os.PathLike[str], annotations: CheckedAnnotations) -> list[ImageDetections]:
    """Read the detections of a file by image.

    Args:
        path: a list of results as pycocotools takes them, of all images of the annotation file; or a dict with `images`
            (by file name), `annotations` and `categories` (by name), of the images that it lists.
        annotations: of the same images.

    Returns:
        The detections of each image that was predicted, also of those without any.

    Raises:
        DataError: the file is missing or something else, or names an image or a category that the annotation file has
            not.
    """
    path = Path(path)
    content = _read_json(path)
    try:
        results, image_ids = _as_results(content, annotations)
        grouped: dict[Any, list[Mapping[str, Any]]] = {image_id: [] for image_id in image_ids}
        for number, result in enumerate(results):
            _check_result(result, number)
            if result["image_id"] not in grouped:
                raise ValueError(f"result {number}: image {result['image_id']!r} is not in {annotations.report.path}")
            grouped[result["image_id"]].append(result)
        labels = {category_id: label for label, category_id in enumerate(annotations.category_ids)}
        return [_image_detections(image_id, entries, labels, annotations) for image_id, entries in grouped.items()]
    except ValueError as problem:
        raise DataError(f"results file {path}: {printable(str(problem))}") from None


def _read_json(path: Path) -> Any:
    if not path.is_file():
        raise DataError(missing_file_message(path, kind="results file"))
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"results file {path} is no JSON: {error!s:.100}") from None


def _as_results(content: Any, annotations: CheckedAnnotations) -> tuple[Sequence[Any], list[Any]]:
    """The results, and the ids of the images that were predicted, as in the annotation file."""
    if isinstance(content, list):
        return content, list(annotations.annotated)
    match content:
        case {"images": list(images), "annotations": list(found), "categories": list(categories)}:
            by_id = _image_ids(images, annotations)
            names = {record.get("id"): record.get("name") for record in categories if isinstance(record, dict)}
            ours = dict(zip(annotations.classes, annotations.category_ids, strict=True))
            results = [
                {
                    **result,
                    "image_id": by_id.get(result.get("image_id")),
                    "category_id": ours.get(str(names.get(result.get("category_id")))),
                }
                for result in found
                if isinstance(result, dict)
            ]
            return results, list(by_id.values())
    raise ValueError("expected a list of results, or a dict with the lists images, annotations and categories")


def _image_ids(images: Sequence[Any], annotations: CheckedAnnotations) -> dict[Any, Any]:
    """The file's image id -> that of the annotation file, by file name without folders."""
    ids: dict[str, Any] = {}
    for record in annotations.images:
        name = _file_name(record)
        if name in ids:
            raise ValueError(f"images are matched by file name, and {annotations.report.path} has {name!r} twice")
        ids[name] = record["id"]
    missing = [_file_name(record) for record in images if _file_name(record) not in ids]
    if missing:
        raise ValueError(f"{len(missing)} images are not in {annotations.report.path}, such as {missing[0]!r}")
    return {record["id"]: ids[_file_name(record)] for record in images}


def _file_name(record: Any) -> str:
    name = record.get("file_name") if isinstance(record, dict) else None
    if not isinstance(name, str) or "id" not in record:
        raise ValueError("an image without id and file_name")
    return PurePosixPath(name.replace("\\", "/")).name


def _check_result(result: Any, number: int) -> None:
    if not isinstance(result, dict) or any(key not in result for key in KEYS):
        raise ValueError(f"result {number}: expected a dict with {', '.join(KEYS)}")
    score, rle = result["score"], result["segmentation"]
    if type(score) not in (int, float) or not np.isfinite(score):
        raise ValueError(f"result {number}: expected a number as score, got {score!r:.40}")
    match rle:
        case {"size": [int(), int()], "counts": str()}:
            return
    raise ValueError(f"result {number}: expected a mask as compressed RLE, got {rle!r:.40}")


def _image_detections(
    image_id: Any, results: Sequence[Mapping[str, Any]], labels: Mapping[Any, int], annotations: CheckedAnnotations
) -> ImageDetections:
    image = annotations.annotated[image_id]
    size = [image.height, image.width]
    rles: list[RLE] = []
    for result in results:
        if result["category_id"] not in labels:
            raise ValueError(
                f"image {image_id!r}: category {result['category_id']!r} is not in {annotations.report.path}"
            )
        if list(result["segmentation"]["size"]) != size:
            found = result["segmentation"]["size"]
            raise ValueError(f"image {image_id!r}: a mask of {found} in an image of {size} (height, width)")
        rles.append(RLE(size=size, counts=result["segmentation"]["counts"]))
    detections = ImageDetections(
        image_id=image_id,
        labels=np.array([labels[result["category_id"]] for result in results], np.int32),
        scores=np.array([result["score"] for result in results], np.float64),
        boxes=np.zeros((len(results), 4), np.float32),
        areas=rle_areas(rles).astype(np.float64),
        size=size if rles else [],
        counts="\n".join(rle["counts"] for rle in rles).encode("ascii", "replace"),
    )
    detections.check(len(labels))
    return detections
