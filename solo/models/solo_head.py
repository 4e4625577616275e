"""Heads of SOLO and Decoupled SOLO: the category branch of SOLOv2, and masks without dynamic kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from solo.models.layers import append_coordinates
from solo.models.solov2_head import GridHead
from solo.registry import MODELS
from solo.structures import DecoupledSOLOOutputs, SOLOOutputs


class _SOLOHeadBase(GridHead):
    """The category branch. Masks are at twice the resolution that their level reads."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.mask_strides = tuple(stride // 2 for stride in self.grid.strides)
        self.category_tower = self._build_tower(self.in_channels)
        self.category_predictor = self._build_predictor(self.num_classes)

    def _category_logits(self, levels: Sequence[Tensor]) -> Tensor:
        """(B, S, C) class logits from the maps of the levels."""
        cells = (
            F.interpolate(level, size=(side, side), mode="bilinear")
            for level, side in zip(levels, self.grid.num_grids, strict=True)
        )
        return self.grid.flatten([self.category_predictor(self.category_tower(level)) for level in cells])


@MODELS.register_module()
class SOLOHead(_SOLOHeadBase):
    """Head of SOLO (arXiv 1912.04488, section 3.2): a mask channel for each cell, read from one tower.

    The channels are a 1x1 convolution, so that a channel is a learned kernel on the features of the tower. Only the
    features are computed here; the mask decoder computes the masks of the cells it needs.

    Args:
        options: as in `GridHead`.

    Raises:
        ValueError: as `GridHead`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.mask_tower = self._build_tower(self.in_channels + 2)
        self.mask_predictors = nn.ModuleList(nn.Conv2d(self.feat_channels, size, 1) for size in self.grid.level_sizes)
        self.init_predictors(self.category_predictor, self.mask_predictors)

    def forward(self, features: Sequence[Tensor]) -> SOLOOutputs:
        """Predict for all cells from one (B, in_channels, H/stride, W/stride) map for each of `feature_strides`."""
        levels = self.resize_levels(features)
        return SOLOOutputs(
            cls_logits=self._category_logits(levels),
            mask_feats=tuple(self.mask_tower(append_coordinates(level)) for level in levels),
            kernels=tuple(predictor.get_parameter("weight").flatten(1) for predictor in self.mask_predictors),
            biases=tuple(predictor.get_parameter("bias") for predictor in self.mask_predictors),
            mask_strides=self.mask_strides,
        )


@MODELS.register_module()
class DecoupledSOLOHead(_SOLOHeadBase):
    """Head of Decoupled SOLO (arXiv 1912.04488, section 3.4): a channel for each column and one for each row of cells.

    Args:
        shared_mask_tower: read columns and rows from one tower that sees both coordinates (the light model), instead
            of from one tower each that sees its own coordinate.
        options: as in `GridHead`.

    Raises:
        ValueError: as `GridHead`.
    """

    def __init__(self, *, shared_mask_tower: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.shared_mask_tower = shared_mask_tower
        if shared_mask_tower:
            self.mask_tower = self._build_tower(self.in_channels + 2)
        else:
            self.mask_tower_x = self._build_tower(self.in_channels + 1)
            self.mask_tower_y = self._build_tower(self.in_channels + 1)
        self.mask_predictors_x, self.mask_predictors_y = (
            nn.ModuleList(self._build_predictor(side) for side in self.grid.num_grids) for _ in "xy"
        )
        self.init_predictors(self.category_predictor, self.mask_predictors_x, self.mask_predictors_y)

    def forward(self, features: Sequence[Tensor]) -> DecoupledSOLOOutputs:
        """Predict for all cells from one (B, in_channels, H/stride, W/stride) map for each of `feature_strides`."""
        levels = self.resize_levels(features)
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
            shared = _double(self.mask_tower(located))
            return shared, shared
        with_y = torch.cat([level, located[:, -1:]], dim=1)
        return _double(self.mask_tower_x(located[:, :-1])), _double(self.mask_tower_y(with_y))


def _double(maps: Tensor) -> Tensor:
    return F.interpolate(maps, scale_factor=2, mode="bilinear")
