"""The random crop of SSD, with PaddleDetection's sampling."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from solo.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomOverlapCrop(BaseTransform):
    """Crop to a window whose IoU with some object reaches a random threshold, or not at all (Liu et al. 2016).

    Equivalent to PaddleDetection's `RandomCrop`. The thresholds and "no crop" are shuffled; the first for which a
    window is found is used. A window's sides are `scaling` (geometric mean) and `aspect_ratio` relative to the image's;
    its IoU with at least one box reaches the threshold, and it holds the centre of some box. Objects whose centre is
    outside are removed, the boxes of the others are clipped.

    Args:
        aspect_ratio: Range of width over height, relative to the image.
        thresholds: Thresholds of the IoU.
        scaling: Range of the geometric mean of the window's sides, relative to the image.
        num_attempts: Windows that are tried for each threshold.

    Raises:
        ValueError: A range is empty or outside (0, 1], or there are no attempts.
    """

    def __init__(
        self,
        *,
        aspect_ratio: tuple[float, float] = (0.5, 2.0),
        thresholds: tuple[float, ...] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9),
        scaling: tuple[float, float] = (0.3, 1.0),
        num_attempts: int = 50,
    ) -> None:
        if not (0 < scaling[0] <= scaling[1] <= 1 and 0 < aspect_ratio[0] <= 1 <= aspect_ratio[1]) or num_attempts < 1:
            raise ValueError(
                "scaling must be (low, high) in (0, 1], aspect_ratio (low, high) around 1 and num_attempts positive; "
                f"came scaling={scaling}, aspect_ratio={aspect_ratio}, num_attempts={num_attempts}"
            )
        self.aspect_ratio, self.thresholds = aspect_ratio, thresholds
        self.scaling, self.num_attempts = scaling, num_attempts

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Crop `img`, the boxes and the masks; images without ordinary objects are returned unchanged."""
        boxes = results["gt_bboxes"]
        corners = np.asarray(getattr(boxes, "tensor", boxes), dtype=np.float32).reshape(-1, 4)
        crowds = np.asarray(results.get("gt_ignore_flags", np.zeros(len(corners))), dtype=np.bool_)
        window = self.choose_window(corners[~crowds], results["img"].shape[:2]) if not crowds.all() else None
        if window is not None:
            _crop(results, window, np.flatnonzero(holds_centers(window, corners)))
        return results

    def choose_window(self, boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray | None:
        """Sample a window (4,) int64 x1 y1 x2 y2 for boxes (N, 4) in an image of (height, width); None for no crop."""
        thresholds: list[float | None] = [*self.thresholds, None]
        for index in np.random.permutation(len(thresholds)):
            threshold = thresholds[index]
            if threshold is None:
                return None
            for _ in range(self.num_attempts):
                window = self._sample_window(size)
                if overlaps(window, boxes).max() >= threshold and holds_centers(window, boxes).any():
                    return window
        return None

    def _sample_window(self, size: tuple[int, int]) -> np.ndarray:
        height, width = size
        scale = np.random.uniform(*self.scaling)
        # Within these bounds neither side is longer than the image's.
        low, high = max(self.aspect_ratio[0], scale**2), min(self.aspect_ratio[1], scale**-2)
        root = np.sqrt(np.random.uniform(low, high))
        window_height = max(1, min(height, int(height * scale / root)))
        window_width = max(1, min(width, int(width * scale * root)))
        top = np.random.randint(0, max(1, height - window_height))
        left = np.random.randint(0, max(1, width - window_width))
        return np.array([left, top, left + window_width, top + window_height])

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(aspect_ratio={self.aspect_ratio}, thresholds={self.thresholds}, "
            f"scaling={self.scaling}, num_attempts={self.num_attempts})"
        )


def overlaps(window: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """IoU (N,) of a window (4,) with boxes (N, 4), x1 y1 x2 y2."""
    sides = np.minimum(boxes[:, 2:], window[2:]) - np.maximum(boxes[:, :2], window[:2])
    intersections = np.where((sides > 0).all(axis=1), sides.prod(axis=1), 0)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (window[2:] - window[:2]).prod()
    return intersections / (areas - intersections + 1e-10)


def holds_centers(window: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Which boxes (N, 4) have their centre in a window (4,) and some extent there: (N,) bool."""
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = ((window[:2] <= centers) & (centers < window[2:])).all(axis=1)
    meets = (np.maximum(boxes[:, :2], window[:2]) < np.minimum(boxes[:, 2:], window[2:])).all(axis=1)
    return inside & meets


def _crop(results: dict[str, Any], window: np.ndarray, kept: np.ndarray) -> None:
    left, top, right, bottom = (int(side) for side in window)
    results["img"] = results["img"][top:bottom, left:right]
    results["img_shape"] = results["img"].shape[:2]
    for key in ("gt_bboxes", "gt_bboxes_labels", "gt_ignore_flags", "gt_masks"):
        if key in results:
            results[key] = results[key][kept]
    results["gt_bboxes"].translate_([-left, -top])
    results["gt_bboxes"].clip_(results["img_shape"])
    if "gt_masks" in results:
        results["gt_masks"] = results["gt_masks"].crop(window)
