"""A model small enough to be measured within a test, as mmdet can build it too."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from tests.helpers.paths import ROOT

CONFIG = str(ROOT / "configs/shapes/solov2-nano_shapes.py")
# The last map doubled, as mmdet's head does; few channels, small pictures.
OVERRIDES: dict[str, Any] = {
    "model.grid.strides": [8, 8, 16, 16],
    "model.backbone.base_channels": 4,
    "model.neck.in_channels": [4, 8, 16, 32],
    "model.head.feat_channels": 8,
}
needs_mmdet = pytest.mark.skipif(importlib.util.find_spec("mmdet") is None, reason="mmdet is the peer")
# mmdet's head calls it so at every step.
ignore_meshgrid = pytest.mark.filterwarnings("ignore:torch.meshgrid")


def command_line_overrides() -> list[str]:
    """The overrides behind `--cfg-options`."""
    return [f"{key}={value}".replace(" ", "") for key, value in OVERRIDES.items()]
