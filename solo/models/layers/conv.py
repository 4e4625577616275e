"""Convolution, group normalisation and ReLU: the block that all branches consist of."""

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
    """As `nn.GroupNorm`, but accepts groups of one value, which a tiny image gives: they become the bias."""

    def forward(self, input: Tensor) -> Tensor:
        return torch.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


class ConvNormReLU(nn.Sequential):
    """A convolution without bias, group normalisation and ReLU; spatial size is kept.

    Args:
        kernel_size: odd.
        num_groups: groups of the normalisation; divides `out_channels`.
        dcn: config of a deformable convolution that replaces the plain one, as `dict(type="DCNv2")`. With `bias=True`
            it has a bias, as in PaddleDetection.

    Shape:
        (B, in_channels, H, W) -> (B, out_channels, H, W)

    Raises:
        ValueError: `num_groups` does not divide `out_channels`.
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
    """A sequence of `num_convs` 3x3 blocks: (B, in_channels, H, W) -> (B, out_channels, H, W).

    Args:
        num_groups: groups of the normalisation; divides `out_channels`.
        dcn: config of the deformable convolutions, None for none.
        dcn_convs: indices of the blocks with a deformable convolution; None for all.

    Raises:
        ValueError: `dcn_convs` holds an index out of range, or comes without `dcn`.
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
    """Sample the weights of all convolutions of a module from Normal(0, std); biases and offsets are zero."""
    convs = [part for part in module.modules() if isinstance(part, nn.Conv2d)]
    for conv in convs:
        nn.init.normal_(conv.weight, std=std)
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)
    for conv in convs:
        if isinstance(conv, DeformConv2d):
            conv.init_weights()
