"""Building blocks that the branches share."""

from solo.models.layers.conv import ConvNormReLU, conv_tower
from solo.models.layers.coordinates import append_coordinates

__all__ = ["ConvNormReLU", "append_coordinates", "conv_tower"]
