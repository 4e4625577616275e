"""Renders an image of the shapes dataset: textured geometric objects that occlude one another, with exact masks."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

CLASSES = ("ellipse", "triangle", "rectangle", "star")

_SUPERSAMPLING = 4
_SMALLEST, _LARGEST = 20.0, 96.0  # diameter of an object's circumscribed circle in pixels of a 160-pixel image
_SIZE_EXPONENT = 1.2  # > 1: more small objects than large ones
_MIN_VISIBLE_FRACTION = 0.35  # of an object's own area; a placement that would hide more of any object is rejected
_MIN_VISIBLE_PIXELS = 40
_PLACEMENT_TRIES = 12
_MIN_CONTRAST = 60.0  # Euclidean distance in BGR between an object's colour and what is underneath
_USUAL_PATTERN_FRACTION = 0.85  # of the objects have the pattern of their class, the others any
_EMPTY_FRACTION, _CROWD_FRACTION, _RING_FRACTION = 0.05, 0.07, 0.15
_OBJECT_COUNT_WEIGHTS = (0.12, 0.20, 0.24, 0.22, 0.14, 0.08)  # 1..6 objects

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


class RenderedObject(NamedTuple):
    """One annotated object: index into `CLASSES`, visible mask (H, W), its area in pixels without occlusion."""

    label: int
    mask: BoolArray
    uncovered_area: int
    is_crowd: bool = False


def render_image(*, rng: np.random.Generator, size: int) -> tuple[npt.NDArray[np.uint8], list[RenderedObject]]:
    """Render a square image and the visible mask of each of its objects.

    Args:
        rng: Source of every random choice; the same state gives the same image.
        size: Side of the image in pixels.

    Returns:
        The image (H, W, 3) BGR and its objects, lowest first. Masks of different objects never overlap.
    """
    canvas = _render_background(rng, size)
    objects: list[RenderedObject] = []
    if rng.random() >= _EMPTY_FRACTION:
        if rng.random() < _CROWD_FRACTION:
            objects.append(_render_crowd(rng, canvas))
        for _ in range(1 + rng.choice(len(_OBJECT_COUNT_WEIGHTS), p=_OBJECT_COUNT_WEIGHTS)):
            objects = _add_object(rng, canvas, objects)
    canvas += rng.normal(0.0, rng.uniform(2.0, 7.0), canvas.shape).astype(np.float32)
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8), objects


def _render_background(rng: np.random.Generator, size: int) -> FloatArray:
    """A gradient between two colours under smooth noise of two scales, (H, W, 3)."""
    first, second = rng.uniform(20, 235, (2, 3))
    second = first + (second - first) * rng.uniform(0.2, 0.7)
    ramp = _ramp(rng, size, size)[..., None]
    canvas = (first * (1 - ramp) + second * ramp).astype(np.float32)
    canvas += _smooth_noise(rng, size, size, cells=4, channels=3) * np.float32(rng.uniform(5, 22))
    canvas += _smooth_noise(rng, size, size, cells=20, channels=1) * np.float32(rng.uniform(2, 14))
    return np.clip(canvas, 0, 255)


def _ramp(rng: np.random.Generator, height: int, width: int) -> FloatArray:
    """A linear ramp from 0 to 1 in a random direction, (H, W)."""
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[0:height, 0:width]
    values = columns * np.cos(angle) + rows * np.sin(angle)
    return ((values - values.min()) / max(np.ptp(values), 1e-6)).astype(np.float32)


def _smooth_noise(rng: np.random.Generator, height: int, width: int, *, cells: int, channels: int) -> FloatArray:
    """Normal noise on a coarse lattice, interpolated to (H, W, channels)."""
    coarse = rng.normal(0.0, 1.0, (cells, cells, channels)).astype(np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, channels)


def _circle_points(angles: FloatArray | npt.NDArray[np.float64], radii: npt.ArrayLike) -> npt.NDArray[np.float64]:
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.reshape(radii, (-1, 1))


def _ellipse(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    return _circle_points(np.linspace(0, 2 * np.pi, 72, endpoint=False), 1.0) * [1.0, rng.uniform(0.55, 1.0)]


def _triangle(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    return _circle_points(np.arange(3) * (2 * np.pi / 3) + rng.uniform(-0.35, 0.35, 3), 1.0)


def _rectangle(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    half = np.arctan(rng.uniform(0.45, 1.0))
    return _circle_points(np.array([half, np.pi - half, np.pi + half, -half]), 1.0)


def _star(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    points = int(rng.integers(5, 7))
    radii = np.where(np.arange(2 * points) % 2 == 0, 1.0, rng.uniform(0.40, 0.52))
    return _circle_points(np.arange(2 * points) * (np.pi / points), radii)


_OUTLINES = (_ellipse, _triangle, _rectangle, _star)  # of CLASSES; each returns (V, 2) x y inside the unit circle


def _render_alpha(rng: np.random.Generator, *, label: int, diameter: float, ring: bool) -> FloatArray:
    """Coverage of each pixel of a square patch by one object, 0..1, (P, P); every object pixel lies inside."""
    side = int(np.ceil(diameter)) + 2
    outline = _OUTLINES[label](rng)
    angle = rng.uniform(0, 2 * np.pi)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    outline = outline @ rotation.T * (diameter / 2)
    coverage = np.zeros((side * _SUPERSAMPLING, side * _SUPERSAMPLING), np.uint8)
    for scale, value in ((1.0, 255), (rng.uniform(0.4, 0.55), 0)) if ring else ((1.0, 255),):
        corners = np.rint((outline * scale + side / 2) * _SUPERSAMPLING - 0.5).astype(np.int32)
        cv2.fillPoly(coverage, [corners], value)
    return cv2.resize(coverage, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _render_surface(
    rng: np.random.Generator, side: int, underneath: npt.NDArray[np.float32], *, label: int
) -> FloatArray:
    """Colour of an object: a shaded base colour under the pattern usual for its class or any other, (P, P, 3)."""
    color = rng.uniform(15, 240, 3)
    while np.linalg.norm(color - underneath) < _MIN_CONTRAST:
        color = rng.uniform(15, 240, 3)
    surface = color.astype(np.float32) + (_ramp(rng, side, side)[..., None] - 0.5) * np.float32(rng.uniform(0, 40))
    usual = rng.random() < _USUAL_PATTERN_FRACTION
    pattern = _PATTERNS[label if usual else int(rng.integers(len(_PATTERNS)))]
    return np.clip(surface + pattern(rng, side), 0, 255)


def _ball(rng: np.random.Generator, side: int) -> FloatArray:
    """Darker towards the border."""
    offsets = np.linspace(-1, 1, side, dtype=np.float32) ** 2
    return (offsets[:, None] + offsets)[..., None] * np.float32(-rng.uniform(30, 70))


def _stripes(rng: np.random.Generator, side: int) -> FloatArray:
    waves = np.sin(_ramp(rng, side, side) * np.float32(side * rng.uniform(0.5, 1.1)))
    return waves[..., None] * rng.uniform(15, 45, 3).astype(np.float32)


def _blotches(rng: np.random.Generator, side: int) -> FloatArray:
    return _smooth_noise(rng, side, side, cells=max(side // 7, 3), channels=3) * np.float32(rng.uniform(14, 32))


def _plain(rng: np.random.Generator, side: int) -> FloatArray:
    return np.zeros((side, side, 3), np.float32)


_PATTERNS = (_ball, _stripes, _blotches, _plain)  # the usual one of each class, in the order of CLASSES


def _paste(
    rng: np.random.Generator, canvas: FloatArray, alpha: FloatArray, corner: tuple[int, int], *, label: int
) -> None:
    """Render an object onto the canvas in place, in a colour that contrasts with what it covers."""
    coverage = _place_in_frame(alpha, corner, canvas.shape[0])
    rows, columns = np.nonzero(coverage)
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    weight = coverage[top:bottom, left:right, None]
    patch = canvas[top:bottom, left:right]
    surface = _render_surface(rng, alpha.shape[0], (patch * weight).sum((0, 1)) / weight.sum(), label=label)
    y, x = top - corner[1], left - corner[0]
    patch += (surface[y : y + bottom - top, x : x + right - left] - patch) * weight


def _place_in_frame(alpha: FloatArray, corner: tuple[int, int], size: int) -> FloatArray:
    """The patch at `corner` (left, top) of an empty (size, size) frame; the rest is cut off."""
    frame = np.zeros((size, size), np.float32)
    left, top = corner
    side = alpha.shape[0]
    y1, y2, x1, x2 = max(top, 0), min(top + side, size), max(left, 0), min(left + side, size)
    if y1 < y2 and x1 < x2:
        frame[y1:y2, x1:x2] = alpha[y1 - top : y2 - top, x1 - left : x2 - left]
    return frame


def _add_object(rng: np.random.Generator, canvas: FloatArray, objects: list[RenderedObject]) -> list[RenderedObject]:
    """Add an object on top where it hides no other too much; `objects` unchanged when there is no such position."""
    size = canvas.shape[0]
    label = int(rng.integers(len(CLASSES)))
    diameter = (_SMALLEST + (_LARGEST - _SMALLEST) * rng.random() ** _SIZE_EXPONENT) * size / 160
    ring = diameter > 28 and rng.random() < _RING_FRACTION
    alpha = _render_alpha(rng, label=label, diameter=diameter, ring=ring)
    whole = int((alpha > 0.5).sum())
    for _ in range(_PLACEMENT_TRIES):
        # Its centre keeps a distance from the border, which may cut it.
        center = rng.uniform(0.15 * diameter, size - 0.15 * diameter, 2)
        left, top = (center - alpha.shape[0] / 2).tolist()
        corner = round(left), round(top)
        mask = _place_in_frame(alpha, corner, size) > 0.5
        covered = [other._replace(mask=other.mask & ~mask) for other in objects]
        is_visible = mask.sum() >= max(_MIN_VISIBLE_PIXELS, 0.5 * whole)
        if not is_visible or not all(map(_stays_visible, covered)):
            continue
        _paste(rng, canvas, alpha, corner, label=label)
        return [*covered, RenderedObject(label, mask, int(mask.sum()))]
    return objects


def _stays_visible(covered: RenderedObject) -> bool:
    return int(covered.mask.sum()) >= max(_MIN_VISIBLE_PIXELS, _MIN_VISIBLE_FRACTION * covered.uncovered_area)


def _render_crowd(rng: np.random.Generator, canvas: FloatArray) -> RenderedObject:
    """A dense cluster of small objects of one class, annotated together as one region."""
    size = canvas.shape[0]
    label = int(rng.integers(len(CLASSES)))
    extent = rng.uniform(40, 70) * size / 160
    center = rng.uniform(extent / 2, size - extent / 2, 2)
    region = np.zeros((size, size), np.bool_)
    for _ in range(int(rng.integers(14, 28))):
        alpha = _render_alpha(rng, label=label, diameter=rng.uniform(8, 13) * size / 160, ring=False)
        x, y = np.clip(center + rng.uniform(-extent / 2, extent / 2, 2) - alpha.shape[0] / 2, 0, size - alpha.shape[0])
        corner = (int(x), int(y))
        _paste(rng, canvas, alpha, corner, label=label)
        region |= _place_in_frame(alpha, corner, size) > 0.5
    return RenderedObject(label, region, int(region.sum()), is_crowd=True)
