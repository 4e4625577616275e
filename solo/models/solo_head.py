"""Heads of SOLO and Decoupled SOLO: the category branch of SOLOv2, and masks made without dynamic kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from solo.models.grid import Grid
from solo.models.layers import append_coordinates, conv_tower, init_conv_weights
from solo.models.solov2_head import HEAD_INIT_STD, PyramidResizer, init_focal_bias
from solo.registry import MODELS
from solo.structures import DecoupledSOLOOutputs, SOLOOutputs


class _SOLOHeadBase(BaseModule):
    """The category branch, and what both heads share; a subclass adds the towers and predictors of masks.

    Masks are at twice the resolution that their level reads.
    """

    def __init__(
        self,
        *,
        grid: Grid,
        num_classes: int,
        in_channels: int,
        feature_strides: Sequence[int],
        feat_channels: int,
        tower: dict[str, Any],
        init_cfg: dict[str, Any] | None,
    ) -> None:
        super().__init__(init_cfg)
        self.resizer = PyramidResizer(grid, feature_strides)
        self.grid = grid
        self.mask_strides = tuple(stride // 2 for stride in grid.strides)
        self.category_tower = conv_tower(in_channels, feat_channels, **tower)
        self.category_predictor = nn.Conv2d(feat_channels, num_classes, 3, padding=1)

    def _category_logits(self, features: Sequence[Tensor]) -> Tensor:
        """(B, S, C) class logits from the maps of the levels."""
        cells = (
            F.interpolate(feature, size=(side, side), mode="bilinear")
            for feature, side in zip(features, self.grid.num_grids, strict=True)
        )
        return self.grid.flatten([self.category_predictor(self.category_tower(level)) for level in cells])


@MODELS.register_module()
class SOLOHead(_SOLOHeadBase):
    """Head of SOLO (arXiv 1912.04488, section 3.2): a mask channel for each cell, read from one tower.

    The channels are a 1x1 convolution, so that a channel is a learned kernel on the features of the tower. Only the
    features are computed here; the mask decoder computes the masks of the cells it needs.

    Args:
        grid: the cells.
        num_classes: C.
        in_channels: channels of the feature pyramid.
        feature_strides: input pixels per pixel of each pyramid map, finest first.
        feat_channels: F, channels of both towers.
        num_convs: convolutions of each tower.
        num_groups: groups of the group normalisation.
        dcn: config of the deformable convolutions of the towers, as `dict(type="DCNv2")`; None for none.
        dcn_convs: the convolutions of the towers, counted from 0, that are deformable; None for all, where `dcn` is
            given.

    Raises:
        ValueError: the grid does not fit the pyramid, or `dcn_convs` names a convolution that is not there, or comes
            without `dcn`.
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
        tower: dict[str, Any] = dict(num_convs=num_convs, num_groups=num_groups, dcn=dcn, dcn_convs=dcn_convs)
        super().__init__(
            grid=grid,
            num_classes=num_classes,
            in_channels=in_channels,
            feature_strides=feature_strides,
            feat_channels=feat_channels,
            tower=tower,
            init_cfg=init_cfg,
        )
        self.mask_tower = conv_tower(in_channels + 2, feat_channels, **tower)
        self.mask_predictors = nn.ModuleList(nn.Conv2d(feat_channels, size, 1) for size in grid.level_sizes)
        init_conv_weights(self, std=HEAD_INIT_STD)
        init_focal_bias(self.category_predictor, *_convs(self.mask_predictors))

    def forward(self, features: Sequence[Tensor]) -> SOLOOutputs:
        """Predict for all cells of all levels.

        Args:
            features: one (B, in_channels, H/stride, W/stride) map for each of `feature_strides`.

        Returns:
            The outputs of the network.
        """
        levels = self.resizer.resize(features)
        predictors = _convs(self.mask_predictors)
        return SOLOOutputs(
            cls_logits=self._category_logits(levels),
            mask_feats=tuple(self.mask_tower(append_coordinates(level)) for level in levels),
            kernels=tuple(predictor.weight.flatten(1) for predictor in predictors),
            biases=tuple(predictor.get_parameter("bias") for predictor in predictors),
            mask_strides=self.mask_strides,
        )


@MODELS.register_module()
class DecoupledSOLOHead(_SOLOHeadBase):
    """Head of Decoupled SOLO (arXiv 1912.04488, section 3.4): a channel for each column and one for each row of cells.

    Args:
        grid: the cells.
        num_classes: C.
        in_channels: channels of the feature pyramid.
        feature_strides: input pixels per pixel of each pyramid map, finest first.
        feat_channels: channels of the towers.
        num_convs: convolutions of each tower.
        shared_mask_tower: whether columns and rows are read from one tower that sees both coordinates (the light
            model), or each from one of their own that sees theirs.
        num_groups: groups of the group normalisation.
        dcn: config of the deformable convolutions of the towers, as `dict(type="DCNv2")`; None for none.
        dcn_convs: the convolutions of the towers, counted from 0, that are deformable; None for all, where `dcn` is
            given.

    Raises:
        ValueError: as `SOLOHead`.
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
        shared_mask_tower: bool = False,
        num_groups: int = 32,
        dcn: dict[str, Any] | None = None,
        dcn_convs: Sequence[int] | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        tower: dict[str, Any] = dict(num_convs=num_convs, num_groups=num_groups, dcn=dcn, dcn_convs=dcn_convs)
        super().__init__(
            grid=grid,
            num_classes=num_classes,
            in_channels=in_channels,
            feature_strides=feature_strides,
            feat_channels=feat_channels,
            tower=tower,
            init_cfg=init_cfg,
        )
        self.shared_mask_tower = shared_mask_tower
        if shared_mask_tower:
            self.mask_tower = conv_tower(in_channels + 2, feat_channels, **tower)
        else:
            self.mask_tower_x = conv_tower(in_channels + 1, feat_channels, **tower)
            self.mask_tower_y = conv_tower(in_channels + 1, feat_channels, **tower)
        self.mask_predictors_x, self.mask_predictors_y = (
            nn.ModuleList(nn.Conv2d(feat_channels, side, 3, padding=1) for side in grid.num_grids) for _ in "xy"
        )
        init_conv_weights(self, std=HEAD_INIT_STD)
        init_focal_bias(self.category_predictor, *_convs(self.mask_predictors_x), *_convs(self.mask_predictors_y))

    def forward(self, features: Sequence[Tensor]) -> DecoupledSOLOOutputs:
        """Predict for all cells of all levels.

        Args:
            features: one (B, in_channels, H/stride, W/stride) map for each of `feature_strides`.

        Returns:
            The outputs of the network.
        """
        levels = self.resizer.resize(features)
        x_logits, y_logits = [], []
        for level, predict_x, predict_y in zip(levels, self.mask_predictors_x, self.mask_predictors_y, strict=True):
            x, y = self._mask_features(level)
            x_logits.append(predict_x(x))
            y_logits.append(predict_y(y))
        return DecoupledSOLOOutputs(
            cls_logits=self._category_logits(levels),
            x_logits=tuple(x_logits),
            y_logits=tuple(y_logits),
            mask_strides=self.mask_strides,
        )

    def _mask_features(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """What columns and what rows are read from, both (B, F, 2 h_l, 2 w_l)."""
        located = append_coordinates(level)
        if self.shared_mask_tower:
            shared = _doubled(self.mask_tower(located))
            return shared, shared
        with_y = torch.cat([level, located[:, -1:]], dim=1)
        return _doubled(self.mask_tower_x(located[:, :-1])), _doubled(self.mask_tower_y(with_y))


def _convs(modules: nn.ModuleList) -> list[nn.Conv2d]:
    return [module for module in modules if isinstance(module, nn.Conv2d)]


def _doubled(maps: Tensor) -> Tensor:
    return F.interpolate(maps, scale_factor=2, mode="bilinear")
