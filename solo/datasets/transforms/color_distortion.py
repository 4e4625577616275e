"""Random colour distortion with PaddleDetection's formulas; boxes and masks do not change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from solo.errors import DataError
from solo.registry import TRANSFORMS

# Rows of Y, I and Q over R, G and B, and back.
RGB_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.321], [0.211, -0.523, 0.311]])
YIQ_TO_RGB = np.array([[1.0, 0.956, 0.621], [1.0, -0.272, -0.647], [1.0, -1.107, 1.705]])


@TRANSFORMS.register_module()
class RandomDistort(BaseTransform):
    """Change brightness, contrast, saturation and hue, each with a probability, in random order.

    Equivalent to PaddleDetection's `RandomDistort` and `ColorDistort`, with their constants: brightness is added, in
    units of 0 to 255; contrast multiplies; saturation scales the distance from the pixel's grey; hue rotates I and Q
    by `hue` times 180 degrees. Nothing is clipped or rounded: the image is float32 afterwards, unless nothing changed.

    Args:
        hue: Range of the angle, in units of 180 degrees.
        saturation: Range of the factor of the distance from grey.
        contrast: Range of the factor.
        brightness: Range of the addition.
        prob: Probability of each of the four.

    Raises:
        ValueError: A range is empty, or prob is no probability.
    """

    def __init__(
        self,
        *,
        hue: tuple[float, float] = (-18, 18),
        saturation: tuple[float, float] = (0.5, 1.5),
        contrast: tuple[float, float] = (0.5, 1.5),
        brightness: tuple[float, float] = (0.5, 1.5),
        prob: float = 0.5,
    ) -> None:
        self.ranges = dict(hue=hue, saturation=saturation, contrast=contrast, brightness=brightness)
        for name, (low, high) in self.ranges.items():
            if low > high:
                raise ValueError(f"{name} must be (low, high), not ({low}, {high})")
        if not 0 <= prob <= 1:
            raise ValueError(f"prob must be in [0, 1], not {prob}")
        self.prob = prob

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Change `results["img"]`, (H, W, 3) BGR of any dtype.

        Raises:
            DataError: it has another number of channels.
        """
        shape = results["img"].shape
        if len(shape) != 3 or shape[2] != 3:
            raise DataError(f"RandomDistort changes colours of 3 channels; the image has the shape {shape}")
        for name in np.random.permutation(list(CHANGES)):
            if np.random.rand() < self.prob:
                amount = np.float32(np.random.uniform(*self.ranges[name]))
                results["img"] = CHANGES[name](results["img"].astype(np.float32), amount)
        return results

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value}" for name, value in {**self.ranges, "prob": self.prob}.items())
        return f"{type(self).__name__}({options})"


def rotate_hue(image: np.ndarray, half_turns: float) -> np.ndarray:
    """Rotate the colours of a BGR image (H, W, 3) float32 around the grey axis of YIQ; the luma Y does not change."""
    cosine, sine = np.cos(half_turns * np.pi), np.sin(half_turns * np.pi)
    rotation = np.array([[1.0, 0.0, 0.0], [0.0, cosine, -sine], [0.0, sine, cosine]])
    rgb = YIQ_TO_RGB @ rotation @ RGB_TO_YIQ
    # Reversed to the image's channel order; transposed as each pixel is a row vector.
    return image @ rgb[::-1, ::-1].T.astype(np.float32)


def scale_saturation(image: np.ndarray, factor: float) -> np.ndarray:
    """Scale the distance of each pixel of a BGR image (H, W, 3) float32 from its grey."""
    grey = image @ RGB_TO_YIQ[0, ::-1, None].astype(np.float32)
    return image * factor + grey * (1 - factor)


CHANGES: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "hue": rotate_hue,
    "saturation": scale_saturation,
    "contrast": np.multiply,
    "brightness": np.add,
}
