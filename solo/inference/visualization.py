"""Draw instances onto images, with numpy and OpenCV alone."""

from __future__ import annotations

import colorsys
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from solo.errors import printable
from solo.inference.instances import Instances
from solo.masks.rle import RLE, decode_windows, encode_masks, rle_areas
from solo.output_files import write_output

if TYPE_CHECKING:
    from mmengine.structures import InstanceData

FONT = cv2.FONT_HERSHEY_SIMPLEX
LEGIBLE_SIDE = 320
MAX_MAGNIFICATION = 4
GOLDEN_RATIO = 0.618033988749895
PNG_HEADER_SIZE = 33
"""Bytes of a PNG's signature and of its first chunk."""
PNG_MARK = b"Software\0solo: visualisation of instances"
"""Keyword and text of a chunk that only visualisations have."""


def instance_color(index: int) -> tuple[int, int, int]:
    """The BGR color of the index-th instance: the same in every run, far from its neighbors in hue."""
    hue = (0.02 + index * GOLDEN_RATIO) % 1.0
    saturation = (0.95, 0.70, 0.85)[index % 3]
    value = (1.0, 0.85)[(index // 3) % 2]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(255 * blue), round(255 * green), round(255 * red)


def write_visualization(path: Path, drawn: np.ndarray) -> None:
    """Write a PNG that carries `PNG_MARK`, by which a later run recognises that it may replace the file.

    Raises:
        OutputError: the file cannot be written.
    """
    encoded = cv2.imencode(".png", drawn)[1].tobytes()
    chunk = b"tEXt" + PNG_MARK
    chunk = struct.pack(">I", len(PNG_MARK)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    write_output(path, [encoded[:PNG_HEADER_SIZE], chunk, encoded[PNG_HEADER_SIZE:]])


def draw_instances(
    image: np.ndarray,
    instances: Instances | InstanceData,
    classes: Sequence[str] | None = None,
    *,
    score_thr: float = 0.3,
    alpha: float = 0.45,
    draw_boxes: bool = False,
    draw_labels: bool = True,
    magnify: int = 1,
) -> np.ndarray:
    """Draw filled masks, their contours and a label each; smaller objects lie on top.

    Objects that are tracked have the color and the number of their identity in every frame.

    Args:
        image: uint8 (H, W, 3) BGR, or (H, W) gray; it is not changed.
        instances: what a predictor returns, or an mmengine `InstanceData` in the frame of the image: labels (D,), masks
            (D, H, W) bool or D RLEs; scores (D,) and bboxes (D, 4) x1 y1 x2 y2 if there are any (ground truth has
            no scores).
        classes: name of each label; needed for `InstanceData` only.
        score_thr: instances with a lower score are left out.
        alpha: opacity of the masks, 0 to 1.
        draw_boxes: draw the boxes too.
        draw_labels: write class names and scores.
        magnify: enlarge the visualisation by this factor, for legible labels on small images (see
            `legible_magnification`).

    Returns:
        A new uint8 image (H * magnify, W * magnify, 3), BGR.

    Raises:
        ValueError: shape or dtype of image or masks is not as above, or a label has no class name; magnify is below 1.
    """
    if magnify < 1:
        raise ValueError(f"magnify must be at least 1, got {magnify}")
    canvas = _checked_image(image)
    size = canvas.shape[:2]
    labels = _to_numpy(instances.labels)
    scores = _to_numpy(instances.scores) if hasattr(instances, "scores") else None
    names = _class_names(instances, classes, labels)
    rles = _encoded_masks(instances, size=size)
    areas = rle_areas(rles)
    order = [i for i in np.argsort(-areas, kind="stable") if areas[i] and (scores is None or scores[i] >= score_thr)]
    canvas = cv2.resize(canvas, None, fx=magnify, fy=magnify, interpolation=cv2.INTER_LINEAR)
    thickness = max(1, round(min(canvas.shape[:2]) / 400))

    ids = getattr(instances, "ids", None)
    colors = [instance_color(int(i if ids is None or ids[i] < 0 else ids[i])) for i in range(len(labels))]
    if ids is not None:
        names = [f"{name} #{identity}" if identity >= 0 else name for name, identity in zip(names, ids, strict=True)]

    shapes = []
    # One by one, each in the columns that it spans: all masks of a large image would take gigabytes.
    for index, (left, columns) in zip(order, decode_windows([rles[i] for i in order], size=size), strict=True):
        mask, corner = _magnified_window(left, columns, magnify=magnify)
        _draw_mask(canvas, mask, corner, colors[index], alpha=alpha, thickness=thickness)
        shapes.append(_measure(mask, corner) if draw_labels else None)
    if draw_boxes:
        boxes = _to_numpy(instances.boxes if isinstance(instances, Instances) else instances.bboxes)
        for index in order:
            x1, y1, x2, y2 = (round(float(side) * magnify) for side in boxes[index])
            cv2.rectangle(canvas, (x1, y1), (x2 - 1, y2 - 1), colors[index], thickness)
    for index, shape in zip(order, shapes, strict=True):
        text = names[index] if scores is None else f"{names[index]} {scores[index]:.2f}"
        if shape is not None:
            _draw_label(canvas, text, shape, colors[index])
    return canvas


def legible_magnification(height: int, width: int) -> int:
    """The factor by which to enlarge an image of this size (pixels) so that labels are legible and cover little."""
    return int(np.clip(math.ceil(LEGIBLE_SIDE / min(height, width)), 1, MAX_MAGNIFICATION))


def _checked_image(image: np.ndarray) -> np.ndarray:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        came = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"image must be a uint8 array, got {came}")
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image must have shape (H, W, 3) or (H, W), got {image.shape}")
    return np.ascontiguousarray(image.copy())


def _class_names(instances: Any, classes: Sequence[str] | None, labels: np.ndarray) -> list[str]:
    """The class name of each instance."""
    if classes is None:
        classes = instances.classes if isinstance(instances, Instances) else ()
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(classes):
        raise ValueError(f"labels reach {labels.min()}..{labels.max()}, but there are {len(classes)} class names")
    return [classes[label] for label in labels]


def _encoded_masks(instances: Any, *, size: tuple[int, ...]) -> Sequence[RLE]:
    """The masks as RLEs, checked against the image."""
    masks = instances.rles if isinstance(instances, Instances) else instances.masks
    rles = masks if isinstance(masks, (list, tuple)) else encode_masks(_to_numpy(masks))
    expected = (len(instances.labels), *size)
    shape = (len(rles), *(rles[0]["size"] if rles else size))
    if shape != expected:
        raise ValueError(f"masks must have shape {expected} for these labels and this image, got {shape}")
    return rles


def _magnified_window(left: int, columns: np.ndarray, *, magnify: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Cut the (H, columns) of a mask, which start at `left`, to its box and enlarge it.

    Returns:
        The pixels (height, width) bool, and the x and y of the first one in the enlarged image.
    """
    rows = columns.any(axis=1).nonzero()[0]
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    mask = columns[top:bottom].repeat(magnify, axis=0).repeat(magnify, axis=1)
    return np.ascontiguousarray(mask), (left * magnify, top * magnify)


def _draw_mask(
    canvas: np.ndarray,
    mask: np.ndarray,
    corner: tuple[int, int],
    color: tuple[int, int, int],
    *,
    alpha: float,
    thickness: int,
) -> None:
    """Blend the mask, whose first pixel lies at `corner`, into the canvas and outline it, in place."""
    (x, y), (height, width) = corner, mask.shape
    window = canvas[y : y + height, x : x + width]
    blended = window[mask] * (1.0 - alpha) + np.asarray(color) * alpha
    window[mask] = np.round(blended).astype(np.uint8)
    contours, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=corner)
    cv2.drawContours(canvas, contours, -1, color, thickness)


class _Shape(NamedTuple):
    """What the place of a label depends on, in pixels of the canvas."""

    top: int
    width: int
    height: int
    center_x: float
    center_y: float


def _measure(mask: np.ndarray, corner: tuple[int, int]) -> _Shape:
    (x, y), (height, width) = corner, mask.shape
    moments = cv2.moments(mask.view(np.uint8), binaryImage=True)
    area = moments["m00"]
    return _Shape(y, width, height, (moments["m10"] + x * area) / area, (moments["m01"] + y * area) / area)


def _draw_label(canvas: np.ndarray, text: str, shape: _Shape, color: tuple[int, int, int]) -> None:
    """Write the text on a plate of the instance's color: on the centre of the mask, or above a small one."""
    text = printable(text)  # half a surrogate crashes OpenCV
    image_height, image_width = canvas.shape[:2]
    scale = float(np.clip(min(image_height, image_width) / 1000, 0.3, 1.0))
    (text_width, text_height), baseline = cv2.getTextSize(text, FONT, scale, 1)
    plate_width, plate_height = text_width + 4, text_height + baseline + 2
    hides_mask = shape.width * shape.height < 3 * plate_width * plate_height
    wanted_top = shape.top - plate_height - 1 if hides_mask else round(shape.center_y) - plate_height // 2
    left = int(np.clip(round(shape.center_x) - plate_width // 2, 0, max(image_width - plate_width, 0)))
    top = int(np.clip(wanted_top, 0, max(image_height - plate_height, 0)))
    plate = canvas[top : top + plate_height, left : left + plate_width]
    plate[:] = np.round(plate * 0.25 + np.asarray(color) * 0.75).astype(np.uint8)
    blue, green, red = color
    is_bright = 0.114 * blue + 0.587 * green + 0.299 * red > 140
    ink = (0, 0, 0) if is_bright else (255, 255, 255)
    cv2.putText(canvas, text, (left + 2, top + text_height + 1), FONT, scale, ink, 1, cv2.LINE_AA)


def _to_numpy(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)
