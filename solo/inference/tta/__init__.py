"""Test-time augmentation: several views of an image, merged before one suppression."""

from solo.inference.tta.model import MaskTTAModel

__all__ = ["MaskTTAModel"]
