"""A model small enough to be measured in a test, which mmdet can build and train too."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from tests.helpers.paths import ROOT

CONFIG = str(ROOT / "tests/helpers/tiny_solov2.py")
SMALL_PIPELINE = [
    dict(type="LoadImage"),
    dict(type="mmdet.Resize", scale=(128, 128), keep_ratio=True),
    dict(type="PackSample"),
]
SMALL_IMAGES: dict[str, Any] = {f"{loader}_dataloader.dataset.pipeline": SMALL_PIPELINE for loader in ("val", "test")}
needs_mmdet = pytest.mark.skipif(importlib.util.find_spec("mmdet") is None, reason="needs mmdet")
# mmdet's head calls torch.meshgrid without `indexing`.
ignore_meshgrid = pytest.mark.filterwarnings("ignore:torch.meshgrid")
