"""Draw instances onto images, with numpy and OpenCV alone."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.structures import InstanceData

FONT = cv2.FONT_HERSHEY_SIMPLEX
LEGIBLE_SIDE = 320
MAX_MAGNIFICATION = 4
GOLDEN_RATIO = 0.618033988749895


def instance_color(index: int) -> tuple[int, int, int]:
    """The BGR color of the index-th instance: the same in every run, far from its neighbors in hue."""
    hue = (0.02 + index * GOLDEN_RATIO) % 1.0
    saturation = (0.95, 0.70, 0.85)[index % 3]
    value = (1.0, 0.85)[(index // 3) % 2]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(255 * blue), round(255 * green), round(255 * red)


def picture_name(image: Path, *, taken: Collection[str]) -> str:
    """The PNG name for a picture of an image: the image's own, with a number where that is taken."""
    name, number = f"{image.stem}.png", 1
    while name in taken:
        number += 1
        name = f"{image.stem}_{number}.png"
    return name


def draw_instances(
    image: np.ndarray,
    instances: InstanceData,
    classes: Sequence[str],
    *,
    score_thr: float = 0.3,
    alpha: float = 0.45,
    draw_boxes: bool = False,
    draw_labels: bool = True,
    magnify: int = 1,
) -> np.ndarray:
    """Draw filled masks, their contours and a label each; smaller objects lie on top.

    Args:
        image: uint8 (H, W, 3) BGR, or (H, W) gray; it stays as it is.
        instances: labels (D,), masks (D, H, W) bool in the image's frame; scores (D,) and bboxes (D, 4) x1 y1 x2 y2
            when there are some (ground truth has no scores).
        classes: name of each label.
        score_thr: instances with a lower score are left out.
        alpha: opacity of the masks, 0 to 1.
        draw_boxes: draw the boxes too.
        draw_labels: write class names and scores.
        magnify: enlarge the picture so many times, for legible labels on small images (see `legible_magnification`).

    Returns:
        A new uint8 image (H * magnify, W * magnify, 3), BGR.

    Raises:
        ValueError: shape or dtype of image or masks is not as above, or a label has no class name; magnify is below 1.
    """
    if magnify < 1:
        raise ValueError(f"magnify must be at least 1, got {magnify}")
    canvas = _checked_image(image)
    labels = _to_numpy(instances.labels)
    masks = _checked_masks(instances.masks, count=len(labels), size=canvas.shape[:2])
    scores = _to_numpy(instances.scores) if "scores" in instances else None
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(classes):
        raise ValueError(f"labels reach {labels.min()}..{labels.max()}, but there are {len(classes)} class names")
    areas = masks.sum((1, 2))
    order = [i for i in np.argsort(-areas, kind="stable") if areas[i] and (scores is None or scores[i] >= score_thr)]
    canvas = cv2.resize(canvas, None, fx=magnify, fy=magnify, interpolation=cv2.INTER_LINEAR)
    drawn = {index: masks[index].repeat(magnify, axis=0).repeat(magnify, axis=1) for index in order}
    thickness = max(1, round(min(canvas.shape[:2]) / 400))
    for index in order:
        _draw_mask(canvas, drawn[index], instance_color(int(index)), alpha=alpha, thickness=thickness)
    if draw_boxes:
        boxes = _to_numpy(instances.bboxes)
        for index in order:
            x1, y1, x2, y2 = (round(float(side) * magnify) for side in boxes[index])
            cv2.rectangle(canvas, (x1, y1), (x2 - 1, y2 - 1), instance_color(int(index)), thickness)
    if draw_labels:
        for index in order:
            text = classes[labels[index]] if scores is None else f"{classes[labels[index]]} {scores[index]:.2f}"
            _draw_label(canvas, text, drawn[index], instance_color(int(index)))
    return canvas


def legible_magnification(height: int, width: int) -> int:
    """How many times to enlarge a picture of this size (pixels) so that labels on it can be read and cover little."""
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


def _checked_masks(masks: Any, *, count: int, size: tuple[int, ...]) -> np.ndarray:
    array = _to_numpy(masks)
    if array.shape != (count, *size):
        raise ValueError(f"masks must have shape {(count, *size)} as labels and image say, got {array.shape}")
    if array.dtype not in (np.dtype(bool), np.dtype(np.uint8)):
        raise ValueError(f"masks must be bool, got {array.dtype}")
    return array.astype(bool, copy=False)


def _draw_mask(
    canvas: np.ndarray, mask: np.ndarray, color: tuple[int, int, int], *, alpha: float, thickness: int
) -> None:
    """Blend the mask into the canvas and outline it, in place, within the mask's box."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    window = canvas[y : y + height, x : x + width]
    inside = mask[y : y + height, x : x + width]
    blended = window[inside] * (1.0 - alpha) + np.asarray(color) * alpha
    window[inside] = np.round(blended).astype(np.uint8)
    contours, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, contours, -1, color, thickness)


def _draw_label(canvas: np.ndarray, text: str, mask: np.ndarray, color: tuple[int, int, int]) -> None:
    """Write the text on a plate of the instance's color: in the middle of the mask, above a mask that it would hide."""
    image_height, image_width = canvas.shape[:2]
    scale = float(np.clip(min(image_height, image_width) / 1000, 0.3, 1.0))
    (text_width, text_height), baseline = cv2.getTextSize(text, FONT, scale, 1)
    _, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    moments = cv2.moments(mask.view(np.uint8), binaryImage=True)
    center_x, center_y = moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]
    plate_width, plate_height = text_width + 4, text_height + baseline + 2
    hides_mask = width * height < 3 * plate_width * plate_height
    wanted_top = y - plate_height - 1 if hides_mask else round(center_y) - plate_height // 2
    left = int(np.clip(round(center_x) - plate_width // 2, 0, max(image_width - plate_width, 0)))
    top = int(np.clip(wanted_top, 0, max(image_height - plate_height, 0)))
    plate = canvas[top : top + plate_height, left : left + plate_width]
    plate[:] = np.round(plate * 0.25 + np.asarray(color) * 0.75).astype(np.uint8)
    blue, green, red = color
    is_bright = 0.114 * blue + 0.587 * green + 0.299 * red > 140
    ink = (0, 0, 0) if is_bright else (255, 255, 255)
    cv2.putText(canvas, text, (left + 2, top + text_height + 1), FONT, scale, ink, 1, cv2.LINE_AA)


def _to_numpy(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
