"""Instances in the formats of other programs. What a format cannot hold is counted: no function loses it in silence."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from solo.inference.instances import Instances
from solo.masks.outlines import Ring
from solo.masks.rle import decode_windows

Losses = Counter[str]
"""What a format cannot hold, in words, and how often it occurred."""
Points = npt.NDArray[np.float64]

LABEL_MAP_LIMIT = np.iinfo(np.uint16).max
LABELME_VERSION = "5.4.1"  # of the layout; shapes of the type "mask" came with 5.3


def to_yolo(instances: Instances, *, tolerance: float = 0.0) -> tuple[str, Losses]:
    """The lines of a YOLO segmentation label file, which ultralytics trains with: `class x1 y1 x2 y2 ...`.

    Coordinates are fractions of width and height, classes are numbered from 0. A line holds one polygon: holes are
    filled, and the parts of an object are joined by lines without width, as ultralytics' converter of COCO files does.

    Args:
        instances: objects; the format has no scores.
        tolerance: pixels by which the outlines may be simplified.
    """
    lines, losses = [], Losses()
    height, width = instances.image_size
    for label, rings in zip(instances.labels.tolist(), _polygons(instances, tolerance), strict=True):
        outer = _outer(rings, losses, holes="holes filled")
        if outer:
            losses.update({"objects whose parts are joined by lines": len(outer) > 1})
            points = _join_parts(outer) / (width, height)
            lines.append(" ".join([str(label), *(f"{value:.8g}" for value in points.ravel())]) + "\n")
    return "".join(lines), +losses


def to_coco_polygons(instances: Instances, *, tolerance: float = 0.0) -> tuple[list[list[list[float]]], Losses]:
    """The `segmentation` of each instance as COCO polygons, `[[x1, y1, ...], ...]`; holes are filled.

    Objects without a pixel have no polygon.
    """
    losses = Losses()
    return [
        [ring.points.ravel().tolist() for ring in _outer(rings, losses, holes="holes filled")]
        for rings in _polygons(instances, tolerance)
    ], +losses


def to_label_map(instances: Instances) -> tuple[npt.NDArray[np.uint16], Losses]:
    """Number the pixels by instance, as `Instances.label_map`, in 16 bits: 0 background, i + 1 instance i.

    Where masks overlap the higher score wins. There are 65,535 numbers: of more instances the last ones, which have the
    lowest scores, are left out.

    Returns:
        (H, W) uint16 and what was lost.
    """
    kept = instances[:LABEL_MAP_LIMIT]
    numbers = kept.label_map().astype(np.uint16)
    areas = kept.areas
    shown = np.bincount(numbers.ravel(), minlength=len(kept) + 1)[1:]
    losses = Losses(
        {
            "pixels of overlapping objects": int(areas.sum() - shown.sum()),
            "objects hidden by others": int(((areas > 0) & (shown == 0)).sum()),
            "objects without a pixel": int((areas == 0).sum()),
            f"objects beyond {LABEL_MAP_LIMIT}": len(instances) - len(kept),
        }
    )
    return numbers, +losses


def to_labelme(
    instances: Instances, *, image_path: str, image_data: bytes | None = None, tolerance: float = 0.0
) -> tuple[dict[str, Any], Losses]:
    """The content of a labelme file. Nothing is lost but objects without a pixel.

    An object without holes becomes a polygon; its parts become polygons with one `group_id`. An object with holes
    becomes a shape of the type "mask". The score is the `description`.

    Args:
        instances: objects.
        image_path: the image's path relative to the folder of the json.
        image_data: the image file itself, for an image that has no file.
        tolerance: pixels by which the outlines may be simplified.
    """
    shapes, losses = [], Losses()
    rows = zip(instances.labels.tolist(), instances.scores.tolist(), _polygons(instances, tolerance), strict=True)
    windows = decode_windows(instances.rles, size=instances.image_size)
    for row, ((label, score, rings), window) in enumerate(zip(rows, windows, strict=True)):
        common: dict[str, Any] = dict(
            label=instances.classes[label], group_id=None, description=f"score {score:.4f}", flags={}
        )
        if not rings:
            losses["objects without a pixel"] += 1
        elif any(ring.is_hole for ring in rings):
            shapes.append(common | _labelme_mask(*window))
        else:
            common["group_id"] = row if len(rings) > 1 else None
            shapes += [common | dict(points=ring.points.tolist(), shape_type="polygon", mask=None) for ring in rings]
    height, width = instances.image_size
    content: dict[str, Any] = dict(
        version=LABELME_VERSION,
        flags={},
        shapes=shapes,
        imagePath=image_path,
        imageData=None if image_data is None else base64.b64encode(image_data).decode(),
        imageHeight=height,
        imageWidth=width,
    )
    return content, losses


def cut_outs(image: npt.NDArray[np.uint8], instances: Instances) -> Iterator[npt.NDArray[np.uint8] | None]:
    """Cut each instance out of its image: (h, w, 4) BGRA within the box of its mask, transparent outside the mask.

    Args:
        image: (H, W, 3) uint8 BGR.
        instances: of that image.

    Yields:
        The cut-out of each instance, None for an object without a pixel.
    """
    for left, pixels in decode_windows(instances.rles, size=instances.image_size):
        rows = np.flatnonzero(pixels.any(axis=1))
        if not len(rows):
            yield None
            continue
        top, bottom = rows[0], rows[-1] + 1
        window = image[top:bottom, left : left + pixels.shape[1]]
        alpha = np.where(pixels[top:bottom], np.uint8(255), np.uint8(0))
        yield np.dstack([window, alpha])


def _polygons(instances: Instances, tolerance: float) -> Iterator[list[Ring]]:
    for rings in instances.polygons():
        yield [Ring(_simplify(ring.points, tolerance), ring.is_hole) for ring in rings] if tolerance else rings


def _simplify(points: npt.NDArray[Any], tolerance: float) -> npt.NDArray[Any]:
    """Leave out corners (Douglas-Peucker), but not so many that no area remains."""
    simpler = cv2.approxPolyDP(points.astype(np.int32), tolerance, True)[:, 0]
    return simpler.astype(points.dtype) if len(simpler) >= 3 else points


def _outer(rings: Sequence[Ring], losses: Losses, *, holes: str) -> list[Ring]:
    outer = [ring for ring in rings if not ring.is_hole]
    losses[holes] += len(rings) - len(outer)
    losses["objects without a pixel"] += not outer
    return outer


def _join_parts(rings: Sequence[Ring]) -> Points:
    """One polygon (P, 2) of several: each further part is entered and left at one point of those before it."""
    joined = rings[0].points.astype(np.float64)
    for ring in rings[1:]:
        points = ring.points.astype(np.float64)
        nearest = int(((joined - points[0]) ** 2).sum(axis=1).argmin())
        joined = np.concatenate([joined[: nearest + 1], points, points[:1], joined[nearest:]])
    return joined


def _labelme_mask(left: int, pixels: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """A shape of the type "mask": its box, with both corners inside, and a PNG of the pixels within."""
    rows = np.flatnonzero(pixels.any(axis=1))
    top, bottom, right = int(rows[0]), int(rows[-1]), left + pixels.shape[1] - 1
    png = cv2.imencode(".png", pixels[top : bottom + 1].astype(np.uint8))[1].tobytes()
    points = [[float(left), float(top)], [float(right), float(bottom)]]
    return dict(points=points, shape_type="mask", mask=base64.b64encode(png).decode())
