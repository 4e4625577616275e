"""A model small enough to be measured in a test, which mmdet can build too."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from tests.helpers.paths import ROOT

CONFIG = str(ROOT / "configs/shapes/solov2-nano_shapes.py")
# mmdet's head doubles the last map. Few channels keep the measurement short.
OVERRIDES: dict[str, Any] = {
    "model.grid.strides": [8, 8, 16, 16],
    "model.backbone.base_channels": 4,
    "model.neck.in_channels": [4, 8, 16, 32],
    "model.head.feat_channels": 8,
}
SMALL_IMAGES: dict[str, Any] = dict(
    OVERRIDES,
    **{
        "val_dataloader.dataset.pipeline": [
            dict(type="LoadImage"),
            dict(type="mmdet.Resize", scale=(128, 128), keep_ratio=True),
            dict(type="PackSample"),
        ],
    },
)
SMALL_IMAGES["test_dataloader.dataset.pipeline"] = SMALL_IMAGES["val_dataloader.dataset.pipeline"]
needs_mmdet = pytest.mark.skipif(importlib.util.find_spec("mmdet") is None, reason="needs mmdet")
# mmdet's head calls torch.meshgrid without `indexing`.
ignore_meshgrid = pytest.mark.filterwarnings("ignore:torch.meshgrid")


def command_line_overrides() -> list[str]:
    """The overrides as words of `--cfg-options`."""
    return [f"{key}={value}".replace(" ", "") for key, value in OVERRIDES.items()]
