"""Deformable convolution one value at a time, and arguments to try it on."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def bilinear(image: Tensor, y: float, x: float) -> float:
    """The value between the pixels of (height, width); pixels outside are zero."""
    height, width = image.shape
    value = 0.0
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < height and 0 <= column < width:
                value += (1 - abs(y - row)) * (1 - abs(x - column)) * float(image[row, column])
    return value


def loop_oracle(
    inputs: Tensor,
    weight: Tensor,
    offsets: Tensor,
    *,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    deform_groups: int = 1,
) -> Tensor:
    """Every output value, tap and channel on its own, as the papers' equations."""
    stride, padding, dilation = ((v, v) if isinstance(v, int) else v for v in (stride, padding, dilation))
    out_channels, group_channels, kernel_height, kernel_width = weight.shape
    batch, channels = inputs.shape[:2]
    output = torch.zeros(batch, out_channels, *offsets.shape[-2:], dtype=inputs.dtype)
    for image, to, row, column in (tuple(index.tolist()) for index in torch.ones_like(output).nonzero()):
        total = 0.0 if bias is None else float(bias[to])
        for tap in range(kernel_height * kernel_width):
            for channel in range(group_channels):
                source = to // (out_channels // groups) * group_channels + channel
                sample = source // (channels // deform_groups) * kernel_height * kernel_width + tap
                tap_row, tap_column = divmod(tap, kernel_width)
                y = (
                    row * stride[0]
                    - padding[0]
                    + tap_row * dilation[0]
                    + float(offsets[image, 2 * sample, row, column])
                )
                x = column * stride[1] - padding[1] + tap_column * dilation[1]
                x += float(offsets[image, 2 * sample + 1, row, column])
                factor = 1.0 if mask is None else float(mask[image, sample, row, column])
                total += (
                    float(weight[to, channel, tap_row, tap_column]) * factor * bilinear(inputs[image, source], y, x)
                )
        output[image, to, row, column] = total
    return output


def tensors(
    generator: torch.Generator,
    *,
    batch: int = 2,
    channels: int = 4,
    size: tuple[int, int] = (5, 6),
    kernel_size: tuple[int, int] = (3, 3),
    dtype: torch.dtype = torch.float64,
    **geometry: Any,
) -> dict[str, Tensor]:
    """Random arguments that fit each other; the offsets reach over the border."""
    groups, taps = geometry.get("groups", 1), geometry.get("deform_groups", 1) * math.prod(kernel_size)
    inputs = torch.randn(batch, channels, *size, generator=generator, dtype=dtype)
    weight = torch.randn(4, channels // groups, *kernel_size, generator=generator, dtype=dtype)
    convolution = {name: value for name, value in geometry.items() if name != "deform_groups"}
    out_size = F.conv2d(inputs, weight, **convolution).shape[-2:]
    return dict(
        inputs=inputs,
        weight=weight,
        offsets=2 * torch.randn(batch, 2 * taps, *out_size, generator=generator, dtype=dtype),
        mask=torch.rand(batch, taps, *out_size, generator=generator, dtype=dtype),
        bias=torch.randn(4, generator=generator, dtype=dtype),
    )
