"""Convolution, group normalisation, ReLU: the only block of the SOLOv2 heads."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from solo.models.layers.dcn import DeformConv2d
from solo.registry import MODELS


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
        dcn: config of a deformable convolution instead of the plain one, as `dict(type="DCNv2")`; with `bias=True` it
            has a bias, as PaddleDetection's have.

    Shape:
        (B, in_channels, H, W) -> (B, out_channels, H, W)

    Raises:
        ValueError: channels that the groups do not divide.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 3,
        num_groups: int = 32,
        dcn: dict[str, Any] | None = None,
    ) -> None:
        if out_channels % num_groups:
            raise ValueError(f"{out_channels} channels cannot be normalised in {num_groups} groups; set num_groups")
        options: dict[str, Any] = dict(
            in_channels=in_channels, out_channels=out_channels, kernel_size=kernel_size, padding=kernel_size // 2
        )
        conv = nn.Conv2d(**options, bias=False) if dcn is None else MODELS.build({"bias": False, **dcn, **options})
        norm = GroupNorm(num_groups, out_channels)
        super().__init__(OrderedDict(conv=conv, norm=norm, relu=nn.ReLU(inplace=True)))


def conv_tower(
    in_channels: int,
    out_channels: int,
    *,
    num_convs: int,
    num_groups: int = 32,
    dcn: dict[str, Any] | None = None,
    dcn_convs: Sequence[int] | None = None,
) -> nn.Sequential:
    """`num_convs` 3x3 blocks one after another: (B, in_channels, H, W) -> (B, out_channels, H, W).

    Args:
        in_channels: channels of the input.
        out_channels: channels of every block's output.
        num_convs: number of blocks.
        num_groups: groups of the normalisation; divides `out_channels`.
        dcn: config of the deformable convolutions, None for none.
        dcn_convs: the blocks, counted from 0, that they stand in; None for all.

    Raises:
        ValueError: `dcn_convs` names a missing block, or `dcn` is missing.
    """
    if dcn is None and dcn_convs:
        raise ValueError(f"dcn_convs={tuple(dcn_convs)} needs dcn, the config of these convolutions")
    deformable = range(num_convs) if dcn_convs is None else dcn_convs
    if not set(deformable) <= set(range(num_convs)):
        raise ValueError(f"dcn_convs={tuple(deformable)} must name convolutions from 0 to {num_convs - 1}")
    widths = [in_channels] + [out_channels] * num_convs
    return nn.Sequential(
        *(
            ConvNormReLU(*pair, num_groups=num_groups, dcn=dcn if index in deformable else None)
            for index, pair in enumerate(pairwise(widths))
        )
    )


def init_conv_weights(module: nn.Module, *, std: float) -> None:
    """Sample the weights of all convolutions inside from Normal(0, std); biases and offsets are zero."""
    convs = [part for part in module.modules() if isinstance(part, nn.Conv2d)]
    for conv in convs:
        nn.init.normal_(conv.weight, std=std)
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)
    for conv in convs:
        if isinstance(conv, DeformConv2d):
            conv.init_weights()
