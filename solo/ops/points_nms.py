"""Points NMS: suppression of neighbouring grid cells before any mask is computed."""

from __future__ import annotations

import torch
from torch import Tensor


def points_nms(scores: Tensor) -> Tensor:
    """Zero every score that is smaller than the one above, left, or above-left of it; equal neighbours all survive.

    The 2x2 window extends to one side only, as in every released SOLO.

    Args:
        scores: (B, C, G, G) class scores of one level's grid, not negative.

    Returns:
        (B, C, G, G), the same scores with the suppressed ones set to zero.
    """
    # Two shifted maxima in the memory layout of the scores: max pooling of channels-last maps is far slower.
    window_max = scores.clone()
    window_max[..., 1:, :] = torch.maximum(scores[..., 1:, :], scores[..., :-1, :])
    window_max[..., 1:] = torch.maximum(window_max[..., 1:], window_max[..., :-1])
    return scores * (window_max == scores)
