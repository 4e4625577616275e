"""Convolution, group normalisation, ReLU: the only block of the SOLOv2 heads."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise

import torch
from torch import Tensor, nn


class GroupNorm(nn.GroupNorm):
    """torch's, but for groups of a single value too: a tiny image leaves a map of one pixel. They become the bias."""

    def forward(self, input: Tensor) -> Tensor:
        return torch.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


class ConvNormReLU(nn.Sequential):
    """A convolution without bias, group normalisation and ReLU; spatial size is kept.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: 1 or 3, odd.
        num_groups: groups of the normalisation; divides `out_channels`.

    Shape:
        (B, in_channels, H, W) -> (B, out_channels, H, W)
    """

    def __init__(self, in_channels: int, out_channels: int, *, kernel_size: int = 3, num_groups: int = 32) -> None:
        if out_channels % num_groups:
            raise ValueError(f"{out_channels} channels cannot be normalised in {num_groups} groups; set num_groups")
        conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False)
        norm = GroupNorm(num_groups, out_channels)
        super().__init__(OrderedDict(conv=conv, norm=norm, relu=nn.ReLU(inplace=True)))


def conv_tower(in_channels: int, out_channels: int, *, num_convs: int, num_groups: int = 32) -> nn.Sequential:
    """`num_convs` 3x3 blocks one after another: (B, in_channels, H, W) -> (B, out_channels, H, W)."""
    widths = [in_channels] + [out_channels] * num_convs
    return nn.Sequential(*(ConvNormReLU(*pair, num_groups=num_groups) for pair in pairwise(widths)))
