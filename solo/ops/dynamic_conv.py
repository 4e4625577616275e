"""Dynamic convolution: every predicted kernel draws one mask (SOLOv2 paper, section 3.2)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_ONEDNN_LINEAR = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


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
    # As columns, so that no kernel at all is an ordinary matrix product as well.
    return _product(kernels, neighborhoods(mask_feats[None], size=size)[0]).view(len(kernels), height, width)


def _product(rows: Tensor, columns: Tensor) -> Tensor:
    """(D, K) @ (K, n). Torch's product of float32 on a CPU is MKL's, which takes two to four times as long on AMD's.

    oneDNN's, which convolutions use, is open to others only by an operator outside torch's public interface, that knows
    no gradient.
    """
    wants_gradient = torch.is_grad_enabled() and (rows.requires_grad or columns.requires_grad)
    is_float_on_cpu = all(x.device.type == "cpu" and x.dtype == torch.float32 for x in (rows, columns))
    if not _ONEDNN_LINEAR or wants_gradient or not is_float_on_cpu or torch.is_autocast_enabled("cpu") or not len(rows):
        return rows @ columns
    product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, columns.T, None, "none", [], "")
    return product


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
    """The features that a kernel of side `size` sees at each pixel: (B, E, h, w) to (B, K, h * w)."""
    if size == 1:
        return mask_feats.flatten(2)
    return F.unfold(mask_feats, kernel_size=size, padding=size // 2)
