"""Building blocks that the branches share."""

from solo.models.layers.conv import ConvNormReLU, conv_tower, init_conv_weights
from solo.models.layers.coordinates import append_coordinates
from solo.models.layers.dcn import DeformConv2d
from solo.models.layers.drop_block import DropBlock

__all__ = [
    "ConvNormReLU",
    "DeformConv2d",
    "DropBlock",
    "append_coordinates",
    "conv_tower",
    "init_conv_weights",
]
