"""Small images with what was wrong in them: found, missed and false masks outlined in three colours."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from solo.errors import DataError
from solo.evaluation.report.mistakes import ImageMistakes
from solo.images.reading import read_annotated_image
from solo.masks.rle import RLE, decode_masks

SIDE = 420
"""Longer side of a thumbnail, pixels."""

MAX_MAGNIFICATION = 4
QUALITY = 80
MISSED, FALSE, FOUND = (255, 120, 20), (40, 40, 235), (60, 190, 60)
"""BGR; the page names them blue, red and green."""


def render(path: str | Path, mistakes: ImageMistakes) -> str | None:
    """Render a thumbnail.

    Args:
        path: of the image.
        mistakes: those in it.

    Returns:
        A `data:` URL of a JPEG, or None where the image cannot be read.
    """
    try:
        image = read_annotated_image(path, annotated=mistakes.size)
    except DataError:
        return None
    scale = min(SIDE / max(image.shape[:2]), MAX_MAGNIFICATION)
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    canvas = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    groups = (
        (mistakes.detections, ~mistakes.false, FOUND),
        (mistakes.objects, mistakes.missed, MISSED),
        (mistakes.detections, mistakes.false, FALSE),
    )
    for rles, chosen, color in groups:
        _outline(canvas, [rle for rle, is_chosen in zip(rles, chosen.tolist(), strict=True) if is_chosen], color)
    encoded = cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def _outline(canvas: np.ndarray, rles: Sequence[RLE], color: tuple[int, int, int]) -> None:
    for rle in rles:
        height, width = rle["size"]
        mask = decode_masks([rle], size=(height, width))[0].astype(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        factors = np.array([canvas.shape[1] / width, canvas.shape[0] / height])
        scaled = [np.round((contour + 0.5) * factors - 0.5).astype(np.int32) for contour in contours]
        cv2.drawContours(canvas, scaled, -1, color, 1, cv2.LINE_AA)
