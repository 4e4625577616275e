"""Mask feature branch: fuses the feature pyramid into one map, which the predicted kernels convolve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from solo.models.layers import ConvNormReLU, append_coordinates, init_conv_weights
from solo.models.solov2_head import HEAD_INIT_STD
from solo.registry import MODELS


@MODELS.register_module()
class MaskFeatureBranch(BaseModule):
    """P2 to P5 upsampled to stride 4 by convolutions and x2 upsampling, summed, projected (SOLOv2 paper, section 3.2).

    Level i is convolved and doubled i times (the finest is convolved once); the coarsest map sees coordinates. The last
    doubling is linear and the same for all levels but the finest: their sum is doubled once, not each of them.

    Args:
        in_channels: channels of the feature pyramid.
        num_levels: number of maps that are fused, finest first; further maps are ignored.
        feat_channels: hidden channels.
        out_channels: E.
        num_groups: groups of the group normalisation.
        dcn: config of the deformable convolutions that replace all others, as `dict(type="DCNv2")`; None for none.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        num_levels: int = 4,
        feat_channels: int = 128,
        out_channels: int,
        num_groups: int = 32,
        dcn: dict[str, Any] | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        block: dict[str, Any] = dict(num_groups=num_groups, dcn=dcn)
        self.levels = nn.ModuleList(
            _enlarging_tower(in_channels + 2 * (level == num_levels - 1), feat_channels, doublings=level, **block)
            for level in range(num_levels)
        )
        self.predictor = ConvNormReLU(feat_channels, out_channels, kernel_size=1, **block)
        init_conv_weights(self, std=HEAD_INIT_STD)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Fuse the maps.

        Args:
            features: pyramid maps, finest (stride 4) first, each half the size of the one before.

        Returns:
            (B, E, h, w) at the size of the finest map.
        """
        *finer, coarsest = features[: len(self.levels)]
        finest, *halves = (
            tower(level) for tower, level in zip(self.levels, [*finer, append_coordinates(coarsest)], strict=True)
        )
        if halves:
            finest = finest + F.interpolate(sum(halves[1:], start=halves[0]), scale_factor=2, mode="bilinear")
        return self.predictor(finest)


def _enlarging_tower(in_channels: int, out_channels: int, *, doublings: int, **block: Any) -> nn.Sequential:
    """Convolution blocks (built with `block`), one a doubling, at least one; all doublings but the last."""
    layers: list[nn.Module] = [ConvNormReLU(in_channels, out_channels, **block)]
    for _ in range(doublings - 1):
        layers += [nn.Upsample(scale_factor=2, mode="bilinear"), ConvNormReLU(out_channels, out_channels, **block)]
    return nn.Sequential(*layers)
