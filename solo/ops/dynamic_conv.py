"""Dynamic convolution: every predicted kernel draws one mask (SOLOv2 paper, section 3.2)."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor


def dynamic_conv(mask_feats: Tensor, kernels: Tensor) -> Tensor:
    """Convolve the mask features of one image with predicted kernels.

    Args:
        mask_feats: (E, h, w) mask features.
        kernels: (D, K) kernels, K = E * k**2 for an odd k, laid out as a convolution weight (E, k, k).

    Returns:
        (D, h, w) mask logits. D may be 0: the result is then empty but still part of the graph.

    Raises:
        ValueError: K is no odd square multiple of E.
    """
    channels, height, width = mask_feats.shape
    count, weights = kernels.shape
    size = math.isqrt(weights // channels)
    if size % 2 == 0 or channels * size**2 != weights:
        raise ValueError(
            f"kernels have {weights} weights, but {channels} mask-feature channels need {channels} * k^2 with odd k"
        )
    if size == 1:
        return (kernels @ mask_feats.flatten(1)).view(count, height, width)
    # As columns, so that no kernel at all is an ordinary matrix product as well.
    columns = F.unfold(mask_feats[None], kernel_size=size, padding=size // 2)[0]
    return (kernels @ columns).view(count, height, width)
