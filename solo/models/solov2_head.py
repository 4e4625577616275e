"""Head of SOLOv2, and what the heads of its predecessors share with it: what every grid cell predicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from solo.masks.resize_taps import MASK_STRIDE
from solo.models.grid import Grid
from solo.models.layers import DropBlock, append_coordinates, conv_tower, init_conv_weights
from solo.registry import MODELS

HEAD_INIT_STD = 0.01
PRIOR_PROBABILITY = 0.01


class GridHead(BaseModule):
    """Base of the heads: towers of convolutions over the grid-resized feature pyramid, shared by all levels.

    Args:
        grid: the cells.
        num_classes: C.
        in_channels: channels of the feature pyramid.
        feature_strides: input pixels per pixel of each pyramid map, finest first.
        feat_channels: F, channels of all towers.
        num_convs: convolutions of each tower.
        num_groups: groups of the group normalisation.
        dcn: config of the deformable convolutions of the towers, as `dict(type="DCNv2")`; None for none.
        dcn_convs: indices of the deformable convolutions within each tower; None for all, where `dcn` is given.

    Raises:
        ValueError: the grid has another number of levels than the pyramid, or a stride that no map has; `dcn_convs`
            holds an index out of range, or comes without `dcn`.
    """

    def __init__(
        self,
        *,
        grid: Grid,
        num_classes: int,
        in_channels: int,
        feature_strides: Sequence[int] = (4, 8, 16, 32, 64),
        feat_channels: int,
        num_convs: int,
        num_groups: int = 32,
        dcn: dict[str, Any] | None = None,
        dcn_convs: Sequence[int] | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if grid.num_levels != len(feature_strides) or not set(grid.strides) <= set(feature_strides):
            raise ValueError(
                f"grid strides {grid.strides} do not fit a feature pyramid with strides {tuple(feature_strides)}: "
                "one level a map, each at the size of one of the maps"
            )
        self.grid = grid
        self.num_classes, self.in_channels, self.feat_channels = num_classes, in_channels, feat_channels
        self.feature_strides = tuple(feature_strides)
        self._build_tower = partial(
            conv_tower,
            out_channels=feat_channels,
            num_convs=num_convs,
            num_groups=num_groups,
            dcn=dcn,
            dcn_convs=dcn_convs,
        )
        self._build_predictor = partial(nn.Conv2d, feat_channels, kernel_size=3, padding=1)

    def resize_levels(self, features: Sequence[Tensor]) -> list[Tensor]:
        """One map a level: P2 is halved, P6 enlarged (SOLOv2 paper, section 3.1)."""
        sizes = {stride: feature.shape[-2:] for stride, feature in zip(self.feature_strides, features, strict=True)}
        return [
            feature if feature.shape[-2:] == sizes[stride] else F.interpolate(feature, sizes[stride], mode="bilinear")
            for feature, stride in zip(features, self.grid.strides, strict=True)
        ]

    def init_predictors(self, *predictors: nn.Module) -> None:
        """Sample all weights; outputs of these predictors start near a probability of one per cent.

        So the many background cells do not swamp the first steps (focal loss paper, section 3.3).
        """
        init_conv_weights(self, std=HEAD_INIT_STD)
        for part in (part for predictor in predictors for part in predictor.modules()):
            if isinstance(part, nn.Conv2d):
                nn.init.constant_(part.get_parameter("bias"), -math.log(1 / PRIOR_PROBABILITY - 1))


@MODELS.register_module()
class SOLOv2Head(GridHead):
    """Category branch and kernel branch (SOLOv2 paper, section 3.2). The kernel branch alone sees coordinates.

    Args:
        kernel_channels: K; the model sets it, from the channels of its mask feature branch.
        drop_block: arguments of `DropBlock`, as `dict(block_size=3, keep_prob=0.9)`, which follows both towers in
            training; None for none.
        options: as in `GridHead`.

    Raises:
        ValueError: as `GridHead`; also if a grid is smaller than a dropped square, or `kernel_channels` is missing.
    """

    def __init__(
        self, *, kernel_channels: int | None = None, drop_block: dict[str, Any] | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        if kernel_channels is None:
            raise ValueError("SOLOv2Head predicts kernels: the model needs `mask_feature`, features that they convolve")
        self.mask_strides = (MASK_STRIDE,) * self.grid.num_levels
        self.category_tower = self._build_tower(self.in_channels)
        self.kernel_tower = self._build_tower(self.in_channels + 2)
        self.drop_block = nn.Identity() if drop_block is None else DropBlock(**drop_block)
        if isinstance(self.drop_block, DropBlock):
            for side in self.grid.num_grids:
                self.drop_block.centre_rate(side, side)  # raises if the grid is too small
        self.category_predictor = self._build_predictor(self.num_classes)
        self.kernel_predictor = self._build_predictor(kernel_channels)
        self.init_predictors(self.category_predictor)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Predict for all cells of all levels.

        Args:
            features: one (B, in_channels, H/stride, W/stride) map for each of `feature_strides`.

        Returns:
            (B, S, C) class logits and (B, S, K) kernels.
        """
        cls_logits, kernels = [], []
        for level, side in zip(self.resize_levels(features), self.grid.num_grids, strict=True):
            cells = F.interpolate(append_coordinates(level), size=(side, side), mode="bilinear")
            cls_logits.append(self.category_predictor(self.drop_block(self.category_tower(cells[:, :-2]))))
            kernels.append(self.kernel_predictor(self.drop_block(self.kernel_tower(cells))))
        return self.grid.flatten(cls_logits), self.grid.flatten(kernels)
