"""Backbones that mmdet lacks."""

from solo.models.backbones.efficientnet_lite import EfficientNetLite0
from solo.models.backbones.mobilenet_v3 import MobileNetV3
from solo.models.backbones.timm import TimmBackbone

__all__ = ["EfficientNetLite0", "MobileNetV3", "TimmBackbone"]
