"""Predict image files: what `tools/predict.py` does."""

from __future__ import annotations

import glob
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
from mmengine.structures import InstanceData

from solo.datasets import read_image
from solo.datasets.transforms.load_image import Image
from solo.errors import ConfigError, DataError
from solo.inference.predictor import SOLOPredictor
from solo.inference.visualization import draw_instances, legible_magnification, picture_name
from solo.masks.rle import RLE, decode_masks, encode_masks

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
PREDICTIONS_FILE = "predictions.json"


@dataclass
class PredictionSummary:
    """What happened: counts, seconds of the model and its drawing, and the files that could not be read."""

    images: int = 0
    objects: int = 0
    seconds: float = 0.0
    unreadable: list[str] = field(default_factory=list)


def find_images(inputs: Sequence[str]) -> list[Path]:
    """Files as named, the images right in folders, and the matches of glob patterns; each once, in this order.

    Raises:
        DataError: an input does not exist, matches nothing, or is a folder without images.
    """
    found: dict[Path, None] = {}
    for entry in inputs:
        path = Path(entry).expanduser()
        if path.is_dir():
            matches = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
            problem = f"{entry}: the folder holds no image ({', '.join(IMAGE_SUFFIXES)})"
            if any(file.is_dir() for file in path.iterdir()):
                problem += f"; its folders are searched by a quoted pattern: '{path}/**/*.png'"
        elif path.is_file():
            matches, problem = [path], ""
        else:
            names = sorted(glob.glob(str(path), recursive=True))
            matches = [Path(name) for name in names if Path(name).is_file()]
            problem = f"{entry}: no such file or folder, and no file matches it as a pattern"
        if not matches:
            raise DataError(problem)
        found.update(dict.fromkeys(matches))
    return list(found)


def predict_files(
    images: Sequence[Path], *, predictor: SOLOPredictor, out_dir: str | Path, score_thr: float
) -> PredictionSummary:
    """Predict images one by one; write a picture of each and one `predictions.json`.

    The json holds `images` (file name, picture, width, height) and `annotations` in COCO's form (image_id,
    category_id, category, bbox as x y width height in pixels of the image, segmentation as RLE, score), with
    `categories` counted from 1. A file that cannot be read is skipped and named in the summary. The json is written
    when the prediction is interrupted, too.

    Args:
        images: the files.
        predictor: the model.
        out_dir: folder of the results; made when missing.
        score_thr: objects with a lower score are left out of pictures and json.

    Raises:
        ConfigError: the folder cannot be written, or a picture would take the place of an image.
    """
    folder = Path(out_dir).expanduser()
    pictures = _picture_names(images)
    _prepare_folder(folder, pictures)
    summary = PredictionSummary()
    content: dict[str, list[dict[str, Any]]] = dict(
        images=[],
        annotations=[],
        categories=[dict(id=index + 1, name=name) for index, name in enumerate(predictor.classes)],
    )
    start = time.perf_counter()
    try:
        for path in images:
            try:
                image = read_image(path)
                instances = predictor(image)
            except DataError as error:
                summary.unreadable.append(_named(error, path))
                continue
            instances = instances[instances.scores >= score_thr]
            encoded = _draw(image, instances, predictor.classes, file=folder / pictures[path])
            image_id, first_id = len(content["images"]) + 1, len(content["annotations"]) + 1
            height, width = image.shape[:2]
            content["images"].append(
                dict(id=image_id, file_name=str(path), picture=pictures[path], width=width, height=height)
            )
            content["annotations"] += _annotations(
                instances, encoded, predictor.classes, image_id=image_id, first_id=first_id
            )
            summary.images += 1
            summary.objects += len(instances)
    finally:  # what was found so far outlives Ctrl-C
        (folder / PREDICTIONS_FILE).write_text(json.dumps(content), encoding="utf-8")
    summary.seconds = time.perf_counter() - start
    return summary


def _prepare_folder(folder: Path, pictures: Mapping[Path, str]) -> None:
    """Make the folder of the results, unless that would cost an image."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"folder of the results {folder} cannot be made: {error.strerror}") from None
    inputs = {path.resolve() for path in pictures}
    for path, name in pictures.items():
        if (folder / name).resolve() in inputs:
            raise ConfigError(
                f"the picture of {path} would overwrite the image {folder / name}; choose another folder for pictures"
            )


def _named(error: DataError, path: Path) -> str:
    return str(error) if str(path) in str(error) else f"{path}: {error}"


def _draw(image: Image, instances: InstanceData, classes: Sequence[str], *, file: Path) -> Sequence[RLE]:
    """Write the picture of an image; returns the run lengths of its masks."""
    height, width = image.shape[:2]
    encoded: Sequence[RLE] = (
        instances.masks if isinstance(instances.masks, list) else encode_masks(instances.masks.numpy())
    )
    if isinstance(instances.masks, list):
        instances.masks = decode_masks(encoded, size=(height, width))
    picture = draw_instances(image, instances, classes, score_thr=0.0, magnify=legible_magnification(height, width))
    if not cv2.imwrite(str(file), picture):
        raise ConfigError(f"picture {file} cannot be written; is the folder writable, and is there space?")
    return encoded


def _picture_names(images: Sequence[Path]) -> dict[Path, str]:
    """A PNG name for each image; images of the same name in several folders get a number."""
    names: dict[Path, str] = {}
    for path in images:
        names[path] = picture_name(path, taken=names.values())
    return names


def _annotations(
    instances: InstanceData, encoded: Sequence[RLE], classes: Sequence[str], *, image_id: int, first_id: int
) -> list[dict[str, Any]]:
    rows = zip(
        instances.labels.tolist(),
        instances.scores.tolist(),
        instances.bboxes.tolist(),
        encoded,
        strict=True,
    )
    return [
        dict(
            id=first_id + offset,
            image_id=image_id,
            category_id=label + 1,
            category=classes[label],
            score=score,
            bbox=[x1, y1, x2 - x1, y2 - y1],
            segmentation=segmentation,
        )
        for offset, (label, score, (x1, y1, x2, y2), segmentation) in enumerate(rows)
    ]
