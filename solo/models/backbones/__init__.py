"""Backbones that mmdet lacks."""

from solo.models.backbones.mobilenet_v3 import MobileNetV3

__all__ = ["MobileNetV3"]
