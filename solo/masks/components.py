"""Connected components of masks."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt


def keep_largest_component(probabilities: npt.NDArray[Any], *, threshold: float) -> None:
    """Set what is inside of masks, but outside of the largest connected component of each, to 0, in place.

    Pixels that touch at a side or a corner are connected. Of equal components one stays.

    Args:
        probabilities: (D, h, w) of any dtype.
        threshold: a pixel is inside if its value is larger.
    """
    for mask, inside in zip(probabilities, probabilities > threshold, strict=True):
        left, top, width, height = cv2.boundingRect(inside.view(np.uint8))
        if not width:
            continue
        window = np.s_[top : top + height, left : left + width]
        count, components = cv2.connectedComponents(inside[window].view(np.uint8), connectivity=8)
        if count > 2:  # 0 is the background
            largest = 1 + np.bincount(components.ravel())[1:].argmax()
            mask[window][(components > 0) & (components != largest)] = 0
