"""Category branch and kernel branch: what every grid cell predicts for the object whose centre it holds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from solo.masks.bitmaps import MASK_STRIDE
from solo.models.grid import Grid
from solo.models.layers import DropBlock, append_coordinates, conv_tower, init_conv_weights
from solo.registry import MODELS

HEAD_INIT_STD = 0.01
PRIOR_PROBABILITY = 0.01


class PyramidResizer:
    """Brings each map of a feature pyramid to the size that its grid level reads.

    Args:
        grid: the cells.
        feature_strides: input pixels per pixel of each pyramid map, finest first.

    Raises:
        ValueError: the grid has another number of levels than the pyramid, or a stride that no map has.
    """

    def __init__(self, grid: Grid, feature_strides: Sequence[int]) -> None:
        self._grid_strides, self._feature_strides = grid.strides, tuple(feature_strides)
        if grid.num_levels != len(self._feature_strides) or not set(grid.strides) <= set(self._feature_strides):
            raise ValueError(
                f"grid strides {grid.strides} do not fit a feature pyramid with strides {self._feature_strides}: "
                "one level a map, each at the size of one of the maps"
            )

    def resize(self, features: Sequence[Tensor]) -> list[Tensor]:
        """One map a level: P2 is halved, P6 enlarged (SOLOv2 paper, section 3.1)."""
        sizes = {stride: feature.shape[-2:] for stride, feature in zip(self._feature_strides, features, strict=True)}
        return [
            feature if feature.shape[-2:] == sizes[stride] else F.interpolate(feature, sizes[stride], mode="bilinear")
            for feature, stride in zip(features, self._grid_strides, strict=True)
        ]


def init_focal_bias(*predictors: nn.Conv2d) -> None:
    """Set the biases so that all outputs start near a probability of one per cent."""
    for predictor in predictors:
        nn.init.constant_(predictor.get_parameter("bias"), -math.log(1 / PRIOR_PROBABILITY - 1))


@MODELS.register_module()
class SOLOv2Head(BaseModule):
    """Two towers over the grid-resized feature pyramid, shared by all levels (SOLOv2 paper, section 3.2).

    The kernel branch sees coordinates, the category branch does not. The category bias starts at a probability of
    one per cent, so that the many background cells do not swamp the first steps.

    Args:
        grid: the cells.
        num_classes: C.
        in_channels: channels of the feature pyramid.
        feature_strides: input pixels per pixel of each pyramid map, finest first.
        feat_channels: channels of both towers.
        num_convs: convolutions of each tower.
        kernel_channels: K; the model states it, from the channels of its mask feature branch.
        num_groups: groups of the group normalisation.
        dcn: config of the deformable convolutions of the towers, as `dict(type="DCNv2")`; None for none.
        dcn_convs: the convolutions of both towers, counted from 0, that are deformable; None for all, where `dcn` is
            given.
        drop_block: arguments of `DropBlock`, as `dict(block_size=3, keep_prob=0.9)`, behind both towers while
            training; None for none.

    Raises:
        ValueError: the grid has another number of levels than the pyramid, or a stride that no map has; `dcn_convs`
            names a convolution that is not there, or comes without `dcn`; a grid is smaller than a dropped square;
            `kernel_channels` is missing.
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
        kernel_channels: int | None = None,
        num_groups: int = 32,
        dcn: dict[str, Any] | None = None,
        dcn_convs: Sequence[int] | None = None,
        drop_block: dict[str, Any] | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if kernel_channels is None:
            raise ValueError("SOLOv2Head predicts kernels: the model needs `mask_feature`, features that they convolve")
        self.resizer = PyramidResizer(grid, feature_strides)
        self.grid = grid
        self.mask_strides = (MASK_STRIDE,) * grid.num_levels
        tower: dict[str, Any] = dict(num_convs=num_convs, num_groups=num_groups, dcn=dcn, dcn_convs=dcn_convs)
        self.category_tower = conv_tower(in_channels, feat_channels, **tower)
        self.kernel_tower = conv_tower(in_channels + 2, feat_channels, **tower)
        self.drop_block = _drop_block(drop_block, grid)
        self.category_predictor = nn.Conv2d(feat_channels, num_classes, 3, padding=1)
        self.kernel_predictor = nn.Conv2d(feat_channels, kernel_channels, 3, padding=1)
        init_conv_weights(self, std=HEAD_INIT_STD)
        init_focal_bias(self.category_predictor)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Predict for all cells of all levels.

        Args:
            features: one (B, in_channels, H/stride, W/stride) map for each of `feature_strides`.

        Returns:
            (B, S, C) class logits and (B, S, K) kernels.
        """
        cls_logits, kernels = [], []
        for feature, side in zip(self.resizer.resize(features), self.grid.num_grids, strict=True):
            cells = F.interpolate(append_coordinates(feature), size=(side, side), mode="bilinear")
            cls_logits.append(self.category_predictor(self.drop_block(self.category_tower(cells[:, :-2]))))
            kernels.append(self.kernel_predictor(self.drop_block(self.kernel_tower(cells))))
        return self.grid.flatten(cls_logits), self.grid.flatten(kernels)


def _drop_block(options: dict[str, Any] | None, grid: Grid) -> nn.Module:
    if options is None:
        return nn.Identity()
    drop_block = DropBlock(**options)
    for side in grid.num_grids:
        drop_block.centre_rate(side, side)
    return drop_block
