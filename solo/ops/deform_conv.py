"""Deformable convolution: each tap of the kernel samples the input at a position of its own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from solo.ops.exporting import is_exporting


def deform_conv2d(
    inputs: Tensor,
    weight: Tensor,
    offsets: Tensor,
    *,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    deform_groups: int = 1,
) -> Tensor:
    """Convolve at positions moved by offsets (Dai et al. 2017), with samples optionally weighted (Zhu et al. 2019).

    Equivalent to `torchvision.ops.deform_conv2d` and to mmcv's operators, with bilinear sampling and zeros outside the
    input, also at infinite offsets; a NaN stays NaN. Positions are float32 at least, whatever the dtype of the
    features. Autocast casts the features as those of a convolution.

    Args:
        inputs: (batch, in_channels, height, width) floating point.
        weight: (out_channels, in_channels / groups, kernel_height, kernel_width).
        offsets: (batch, 2 * deform_groups * taps, out_height, out_width) with taps = kernel_height * kernel_width:
            y, then x of the shift of each deformable group and tap (row-major), in pixels of `inputs`.
        mask: (batch, deform_groups * taps, out_height, out_width), the factor of each sample; None for 1.
        bias: (out_channels,).
        stride: one number or (vertical, horizontal), as the next two.
        padding: zeros around `inputs`.
        dilation: distance of the kernel's taps before they move.
        groups: as in `nn.Conv2d`.
        deform_groups: blocks of the input channels with offsets of their own.

    Returns:
        (batch, out_channels, out_height, out_width).

    Raises:
        ValueError: shapes that do not fit each other.
    """
    stride, padding, dilation = _pair(stride), _pair(padding), _pair(dilation)
    kernel_size = weight.shape[-2:]
    out_size = [
        (inputs.shape[2 + axis] + 2 * padding[axis] - dilation[axis] * (kernel_size[axis] - 1) - 1) // stride[axis] + 1
        for axis in (0, 1)
    ]
    _check_channels(inputs, weight, groups, deform_groups)
    if min(out_size) < 1:
        raise ValueError(
            f"inputs {tuple(inputs.shape)} are too small for a kernel {tuple(weight.shape)} with {dilation=}"
        )
    taps = deform_groups * kernel_size.numel()
    for name, tensor, channels in (("offsets", offsets, 2 * taps), ("mask", mask, taps)):
        expected = (inputs.shape[0], channels, *out_size)
        if tensor is not None and tensor.shape != expected:
            raise ValueError(f"{name} must be {expected}, got {tuple(tensor.shape)}")
    inputs = _autocast(inputs)
    rows, columns = _positions(offsets, kernel_size, stride, padding, dilation, deform_groups)
    samples = _sample(inputs, rows, columns, None if mask is None else _taps_last(mask, deform_groups, 1)[..., 0])
    output = _multiply(samples, weight, groups).unflatten(2, out_size)
    return output if bias is None else output + bias.to(output.dtype)[:, None, None]


def _positions(
    offsets: Tensor,
    kernel_size: tuple[int, ...],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    deform_groups: int,
) -> list[Tensor]:
    """Rows and columns of the samples: two (batch, out_height, out_width, taps, deform_groups), in pixels."""
    moves = _taps_last(offsets, deform_groups, 2)  # (batch, out_height, out_width, taps, deform_groups, 2)
    moves = moves.to(torch.promote_types(moves.dtype, torch.float32))
    taps = torch.meshgrid(*(torch.arange(size, device=offsets.device) for size in kernel_size), indexing="ij")
    positions = []
    for axis, shape in enumerate([(-1, 1, 1, 1), (1, -1, 1, 1)]):
        starts = torch.arange(moves.shape[1 + axis], device=offsets.device) * stride[axis] - padding[axis]
        unmoved = starts.view(shape) + taps[axis].reshape(-1, 1) * dilation[axis]
        positions.append(unmoved + moves[..., axis])
    return positions


def _taps_last(maps: Tensor, deform_groups: int, values: int) -> Tensor:
    """(batch, deform_groups * taps * values, ...) -> (batch, ..., taps, deform_groups, values)."""
    return maps.unflatten(1, (deform_groups, -1, values)).permute(0, 4, 5, 2, 1, 3)


def _sample(inputs: Tensor, rows: Tensor, columns: Tensor, mask: Tensor | None) -> Tensor:
    """Sample the input at rows and columns (batch, out_height, out_width, taps, deform_groups).

    Each sample is a weighted sum of four pixels, hence one bag of embeddings: neither the pixels nor the samples
    before the mask are stored. Faster and smaller than four gathers or `F.grid_sample`, whose scaled positions are
    inexact as well. Returns (batch, out_height * out_width, taps, in_channels).
    """
    if is_exporting():
        return _gather_samples(inputs, rows, columns, mask)
    batch, channels, height, width = inputs.shape
    taps, deform_groups = rows.shape[-2:]
    row_indices, row_weights = _neighbours(rows, height)  # (..., 2) each
    column_indices, column_weights = _neighbours(columns, width)
    if mask is not None:
        row_weights = row_weights * mask[..., None]
    images = torch.arange(batch, device=inputs.device).view(-1, 1, 1, 1, 1, 1, 1)
    blocks = torch.arange(deform_groups, device=inputs.device).view(-1, 1, 1)
    pixels = (images * height + row_indices[..., None]) * width + column_indices[..., None, :]  # (..., 2, 2)
    weights = row_weights[..., None] * column_weights[..., None, :]  # (..., 2, 2)
    table = inputs.permute(0, 2, 3, 1).reshape(-1, channels // deform_groups)
    if weights.requires_grad and not table.requires_grad:
        table.requires_grad_()  # torch 2.4 fails where the weights alone need a gradient
    samples = F.embedding_bag(
        (pixels * deform_groups + blocks).reshape(-1, 4),
        table,
        per_sample_weights=weights.reshape(-1, 4).to(inputs.dtype),
        mode="sum",
    )
    return samples.view(batch, rows.shape[1] * rows.shape[2], taps, channels)


def _gather_samples(inputs: Tensor, rows: Tensor, columns: Tensor, mask: Tensor | None) -> Tensor:
    """`_sample` for an exported graph: runtimes know no bags. Four gathers from the input with a border of zeros.

    A NaN is outside here, as an index must be valid in any case.
    """
    batch, channels, height, width = inputs.shape
    taps, deform_groups = rows.shape[-2:]
    padded = F.pad(inputs, (1, 2, 1, 2)).permute(0, 2, 3, 1)  # (batch, height + 3, width + 3, channels)
    table = padded.reshape(-1, channels // deform_groups)
    (y, y_share), (x, x_share) = (
        _split_position(torch.where(positions > -1, positions, -1.0).clamp(max=size) + 1)
        for positions, size in ((rows, height), (columns, width))
    )
    images = torch.arange(batch, device=inputs.device).view(-1, 1, 1, 1, 1)
    pixels = (images * (height + 3) + y) * (width + 3) + x
    corner = (pixels * deform_groups + torch.arange(deform_groups, device=inputs.device)).flatten()
    top, bottom = (
        _mix(table.index_select(0, first), table.index_select(0, first + deform_groups), x_share)
        for first in (corner, corner + (width + 3) * deform_groups)
    )
    samples = _mix(top, bottom, y_share)
    if mask is not None:
        samples = samples * mask.reshape(-1, 1).to(samples.dtype)
    return samples.view(batch, rows.shape[1] * rows.shape[2], taps, channels)


def _mix(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Interpolate between two, in the dtype of the first."""
    return first + (second - first) * share.to(first.dtype)


def _split_position(positions: Tensor) -> tuple[Tensor, Tensor]:
    """Positions of at least 0 as (...) int64 and fractions (M, 1)."""
    first = positions.floor()
    return first.long(), (positions - first).reshape(-1, 1)


def _neighbours(positions: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The two pixels around positions (...) on an axis of `size` pixels: (..., 2) indices and bilinear weights.

    All indices are inside; the weight of a pixel outside is zero.
    """
    # Beyond these bounds a sample is zero anyway; within them an infinite offset gives no NaN and no overflow.
    positions = positions.clamp(-1, size)
    first = positions.detach().floor()
    fractions = positions - first
    neighbours = torch.stack([first, first + 1], dim=-1)
    weights = torch.stack([1 - fractions, fractions], dim=-1)
    outside = (neighbours < 0) | (neighbours >= size)
    # A NaN keeps its NaN weight, but needs a valid index.
    indices = torch.where(neighbours > 0, neighbours, 0).clamp(max=size - 1).long()
    return indices, weights.masked_fill(outside, 0)


def _multiply(samples: Tensor, weight: Tensor, groups: int) -> Tensor:
    """(batch, positions, taps, in_channels) samples times the kernel: (batch, out_channels, positions)."""
    samples = samples.unflatten(3, (groups, -1)).permute(0, 3, 2, 4, 1).flatten(2, 3)  # (batch, groups, t*i, positions)
    matrices = weight.flatten(2).transpose(1, 2).reshape(groups, weight.shape[0] // groups, -1)  # (groups, o, t*i)
    return (matrices @ samples).flatten(1, 2)


def _autocast(inputs: Tensor) -> Tensor:
    """Cast as autocast casts the inputs of a convolution; it leaves double precision alone."""
    device = inputs.device.type
    if inputs.dtype == torch.float64 or not torch.amp.is_autocast_available(device):
        return inputs
    return inputs.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else inputs


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _check_channels(inputs: Tensor, weight: Tensor, groups: int, deform_groups: int) -> None:
    channels = inputs.shape[1]
    if channels % deform_groups:
        raise ValueError(f"{channels} input channels cannot be split into {deform_groups} deform_groups")
    if weight.shape[1] * groups != channels or weight.shape[0] % groups:
        raise ValueError(
            f"a weight {tuple(weight.shape)} with {groups=} does not fit {channels} input channels: it needs "
            f"{channels} / {groups} of them, and output channels that {groups} divides"
        )
