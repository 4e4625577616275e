"""Pictures with as many objects as one likes, for measurements that need a crowd."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

HEIGHT, WIDTH = 480, 640
NUM_IMAGES = 4
NUM_CLASSES = 4
OUTLINE_POINTS = 16
# The sides of a crowd's objects in pixels: what 300 of them leave room for.
SMALLEST, LARGEST = 12, 80


def write_crowded(folder: Path, *, num_objects: int, seed: int = 0) -> tuple[Path, Path]:
    """Draw ellipses, later ones over earlier ones, and annotate each as a polygon.

    Args:
        folder: where the pictures go.
        num_objects: of each picture.
        seed: of positions, sizes and colours.

    Returns:
        The annotation file, and the folder of the pictures.
    """
    rng = np.random.default_rng(seed)
    pictures = folder / "crowded"
    pictures.mkdir(parents=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id in range(NUM_IMAGES):
        picture = rng.integers(0, 60, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        for outline in _outlines(rng, num_objects):
            cv2.fillPoly(picture, [outline.round().astype(np.int32)], rng.integers(60, 256, 3).tolist())
            annotations.append(_annotation(outline, image_id, number=len(annotations) + 1, rng=rng))
        name = f"{image_id}.png"
        cv2.imwrite(str(pictures / name), picture)
        images.append(dict(id=image_id, file_name=name, height=HEIGHT, width=WIDTH))
    categories = [dict(id=number + 1, name=f"class {number}") for number in range(NUM_CLASSES)]
    path = folder / "crowded.json"
    path.write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))
    return path, pictures


def _outlines(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, points, 2) x y of ellipses inside the picture."""
    angles = np.linspace(0, 2 * np.pi, OUTLINE_POINTS, endpoint=False)
    radii = rng.uniform(SMALLEST, LARGEST, (count, 1, 2)) / 2
    centers = radii + rng.random((count, 1, 2)) * (np.array([WIDTH, HEIGHT]) - 2 * radii)
    return np.asarray(centers + radii * np.stack([np.cos(angles), np.sin(angles)], axis=1))


def _annotation(outline: np.ndarray, image_id: int, *, number: int, rng: np.random.Generator) -> dict[str, Any]:
    (left, top), (right, bottom) = outline.min(axis=0), outline.max(axis=0)
    return dict(
        id=number,
        image_id=image_id,
        category_id=int(rng.integers(NUM_CLASSES)) + 1,
        iscrowd=0,
        area=float(np.pi / 4 * (right - left) * (bottom - top)),
        bbox=[float(side) for side in (left, top, right - left, bottom - top)],
        segmentation=[outline.ravel().tolist()],
    )
