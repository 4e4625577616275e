"""Dynamic convolution: each predicted kernel gives one mask (SOLOv2 paper, section 3.2)."""

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
    size = kernel_size(kernels.shape[1], channels=channels)
    if kernels.device.type == "cpu" and len(kernels):
        # A convolution runs in oneDNN, a matrix product in MKL, which is two to four times slower on AMD processors.
        weight = kernels.view(-1, channels, size, size)
        return F.conv2d(mask_feats[None].contiguous(), weight, padding=size // 2)[0]
    # A matrix product also works without kernels, and on a GPU it is not rounded to TF32.
    return (kernels @ neighborhoods(mask_feats[None], size=size)[0]).view(len(kernels), height, width)


def kernel_size(weights: int, *, channels: int) -> int:
    """Side k of dynamic kernels with `weights` = K numbers over `channels` = E mask features.

    Raises:
        ValueError: K is no odd square multiple of E.
    """
    size = math.isqrt(weights // channels)
    if size % 2 == 0 or channels * size**2 != weights:
        raise ValueError(
            f"kernels have {weights} weights, but {channels} mask-feature channels need {channels} * k^2 with odd k"
        )
    return size


def neighborhoods(mask_feats: Tensor, *, size: int) -> Tensor:
    """Gather the features that a kernel of side `size` reads at each pixel: (B, E, h, w) to (B, K, h * w)."""
    if size == 1:
        return mask_feats.flatten(2)
    return F.unfold(mask_feats, kernel_size=size, padding=size // 2)
