"""Random colours as PaddleDetection draws them; masks and boxes stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from solo.registry import TRANSFORMS

# Rows of Y, I and Q over R, G and B, and back.
RGB_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.321], [0.211, -0.523, 0.311]])
YIQ_TO_RGB = np.array([[1.0, 0.956, 0.621], [1.0, -0.272, -0.647], [1.0, -1.107, 1.705]])


@TRANSFORMS.register_module()
class RandomDistort(BaseTransform):
    """Change brightness, contrast, saturation and hue, each with a probability, in random order.

    PaddleDetection's `RandomDistort` and `ColorDistort` with their own constants: brightness is added, in units of 0
    to 255; contrast multiplies; saturation moves away from the grey of the pixel; hue turns I and Q by `hue` half
    turns. Nothing is clipped or rounded: the image is float32 afterwards, unless no change was drawn.

    Args:
        hue: range of the angle, in half turns.
        saturation: range of the distance from grey, 1 for unchanged.
        contrast: range of the factor.
        brightness: range of the addition.
        prob: probability of each of the four.

    Raises:
        ValueError: a range from high to low, or no probability.
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
                raise ValueError(f"{name} must be (low, high); came ({low}, {high})")
        if not 0 <= prob <= 1:
            raise ValueError(f"prob must be in [0, 1]; came {prob}")
        self.prob = prob

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Change `results["img"]`, (H, W, 3) BGR of any dtype."""
        for name in np.random.permutation(list(CHANGES)):
            if np.random.rand() < self.prob:
                amount = np.float32(np.random.uniform(*self.ranges[name]))
                results["img"] = CHANGES[name](results["img"].astype(np.float32), amount)
        return results

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value}" for name, value in {**self.ranges, "prob": self.prob}.items())
        return f"{type(self).__name__}({options})"


def turn_hue(image: np.ndarray, half_turns: float) -> np.ndarray:
    """Turn the colours of a BGR image (H, W, 3) float32 around the grey axis of YIQ; the brightness Y stays."""
    cosine, sine = np.cos(half_turns * np.pi), np.sin(half_turns * np.pi)
    turn = np.array([[1.0, 0.0, 0.0], [0.0, cosine, -sine], [0.0, sine, cosine]])
    rgb = YIQ_TO_RGB @ turn @ RGB_TO_YIQ
    # Rows and columns in the image's order of channels; each pixel is a row vector.
    return image @ rgb[::-1, ::-1].T.astype(np.float32)


def scale_saturation(image: np.ndarray, factor: float) -> np.ndarray:
    """Multiply the distance of each pixel of a BGR image (H, W, 3) float32 from its grey."""
    grey = image @ RGB_TO_YIQ[0, ::-1, None].astype(np.float32)
    return image * factor + grey * (1 - factor)


CHANGES: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "hue": turn_hue,
    "saturation": scale_saturation,
    "contrast": np.multiply,
    "brightness": np.add,
}
