"""Identities on rendered videos of moving shapes, by IDF1.

    python benchmarks/tracking.py --config CONFIG --checkpoint CHECKPOINT [--videos 8]

The objects of the shapes data set move, bounce off the border and pass behind each other; their masks are known. A
model of that data set detects them, each tracker joins the detections.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from solo.datasets.shapes.rendering import render_image
from solo.inference.instances import Instances
from solo.inference.predictor import SOLOPredictor
from solo.inference.tracking import TRACKERS, make_tracker
from solo.masks.rle import encode_masks

Masks = npt.NDArray[np.bool_]
SCORE = 0.3
FIRST_SEED = 1000  # no video on which the trackers' parameters were chosen
MATCH = 0.5
"""Smallest IoU of an object and a detection that counts."""


class TrueFrame(NamedTuple):
    """A rendered frame, the identities of the objects that are visible in it, their labels and masks (N, H, W)."""

    image: npt.NDArray[np.uint8]
    ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    masks: Masks


class _Sprite(NamedTuple):
    pixels: npt.NDArray[np.uint8]  # (h, w, 3)
    mask: Masks  # (h, w)
    label: int


def render_moving_shapes(
    *, rng: np.random.Generator, size: int = 160, count: int = 5, frames: int = 60, speed: float = 3.0
) -> list[TrueFrame]:
    """Render a video in which `count` objects move by up to `speed` pixels a frame; later ones are in front."""
    sprites = _render_sprites(rng, size=size, count=count)
    background = next(image for image, objects in iter(lambda: render_image(rng=rng, size=size), None) if not objects)
    room = np.array([(size - sprite.mask.shape[1], size - sprite.mask.shape[0]) for sprite in sprites])
    position = rng.uniform(0, room)
    velocity = rng.uniform(0.3, 1.0, (count, 2)) * speed * rng.choice([-1, 1], (count, 2))
    video = []
    for _ in range(frames):
        video.append(_compose(background, sprites, np.rint(position).astype(int)))
        position = position + velocity
        velocity = np.where((position < 0) | (position > room), -velocity, velocity)
        position = position.clip(0, room)
    return video


def idf1(truth: Sequence[TrueFrame], tracked: Sequence[Instances]) -> float:
    """IDF1 (Ristani et al., 2016): each true identity is given one tracked identity for the whole video."""
    hits: dict[tuple[int, int], int] = {}
    num_true = num_tracked = 0
    for frame, found in zip(truth, tracked, strict=True):
        found = found[found.ids >= 0]
        num_true, num_tracked = num_true + len(frame.ids), num_tracked + len(found)
        for row, column in np.argwhere(mask_ious(frame.masks, found.to_bool()) >= MATCH):
            pair = int(frame.ids[row]), int(found.ids[column])
            hits[pair] = hits.get(pair, 0) + 1
    rows, columns = ({name: index for index, name in enumerate(sorted({pair[i] for pair in hits}))} for i in (0, 1))
    counts = np.zeros((len(rows), len(columns)), int)
    for (true, found_id), count in hits.items():
        counts[rows[true], columns[found_id]] = count
    matched = counts[linear_sum_assignment(counts, maximize=True)].sum()
    return float(2 * matched / max(num_true + num_tracked, 1))


def mask_ious(first: Masks, second: Masks) -> npt.NDArray[np.float64]:
    """IoU of each mask (N, H, W) with each of (M, H, W): (N, M)."""
    left, right = (
        masks.reshape(len(masks), int(np.prod(masks.shape[1:]))).astype(np.float32) for masks in (first, second)
    )
    shared = left @ right.T
    union = left.sum(1)[:, None] + right.sum(1) - shared
    return np.divide(shared, union, out=np.zeros(shared.shape), where=union > 0)


def track_detections(detections: Sequence[Instances], tracker: str) -> list[Instances]:
    """The detections of a video with the identities that a tracker gives."""
    current = make_tracker(tracker, score_thr=SCORE)()
    return [current.update(found) for found in detections]


def instances_of_masks(
    masks: Masks, labels: npt.NDArray[np.int64], scores: npt.NDArray[np.float64], *, classes: Sequence[str]
) -> Instances:
    """Instances of bitmaps (N, H, W), with the boxes of the masks."""
    boxes = [_box(mask) for mask in masks]
    size = (masks.shape[1], masks.shape[2])
    rles = encode_masks(masks) if len(masks) else []
    return Instances(labels=labels, scores=scores, boxes=boxes, rles=rles, image_size=size, classes=classes)


def main() -> None:
    """Print the IDF1 of each tracker."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="config of a model of the shapes data set")
    parser.add_argument("--checkpoint", required=True, help="its weights")
    parser.add_argument("--videos", type=int, default=8, help="rendered videos of 60 frames (default: %(default)s)")
    arguments = parser.parse_args()
    predictor = SOLOPredictor(arguments.config, arguments.checkpoint)
    results: dict[str, list[float]] = {name: [] for name in TRACKERS}
    for seed in range(arguments.videos):
        truth = render_moving_shapes(rng=np.random.default_rng([FIRST_SEED, seed]))
        detections = [predictor(frame.image) for frame in truth]
        for name, values in results.items():
            values.append(idf1(truth, track_detections(detections, name)))
    for name, values in results.items():
        print(f"{name}: IDF1 {np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f}) on {len(values)} videos")


def _render_sprites(rng: np.random.Generator, *, size: int, count: int) -> list[_Sprite]:
    """Objects of rendered images that nothing covers."""
    sprites: list[_Sprite] = []
    while len(sprites) < count:
        image, objects = render_image(rng=rng, size=size)
        for item in objects:
            area = np.count_nonzero(item.mask)
            if not item.is_crowd and area > 0.98 * item.uncovered_area and area < size * size / 12:
                x1, y1, x2, y2 = _box(item.mask)
                sprites.append(_Sprite(image[y1:y2, x1:x2], item.mask[y1:y2, x1:x2], item.label))
    return sprites[:count]


def _compose(
    background: npt.NDArray[np.uint8], sprites: Sequence[_Sprite], corners: npt.NDArray[np.int64]
) -> TrueFrame:
    image = background.copy()
    owner = np.full(image.shape[:2], -1)
    for index, (sprite, (left, top)) in enumerate(zip(sprites, corners, strict=True)):
        height, width = sprite.mask.shape
        window = np.s_[top : top + height, left : left + width]
        image[window][sprite.mask] = sprite.pixels[sprite.mask]
        owner[window][sprite.mask] = index
    ids = np.unique(owner[owner >= 0])
    labels = np.array([sprites[index].label for index in ids], np.int64)
    return TrueFrame(image, ids, labels, owner == ids[:, None, None])


def _box(mask: Masks) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


if __name__ == "__main__":
    main()
