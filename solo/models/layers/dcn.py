"""Deformable convolution layers that predict their own offsets."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from solo.ops import deform_conv2d
from solo.registry import MODELS


@MODELS.register_module("DCN")
class DeformConv2d(nn.Conv2d):
    """A convolution whose taps move by offsets that a second convolution, `conv_offset`, predicts from its input.

    Replaces `nn.Conv2d`. Names and layout of the weights are those of mmcv's `DCN` and `DCNv2`. `conv_offset` starts at
    zero: at first no tap moves, and a modulated convolution multiplies every sample by one half.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias: as in `nn.Conv2d`; padding is
            a number or a pair.
        deform_groups: blocks of the input channels with offsets of their own.
        modulated: multiply each sample by a predicted weight from 0 to 1 (version 2, Zhu et al. 2019) or not (version
            1, Dai et al. 2017). The first two thirds of the channels of `conv_offset` are then the offsets, the last
            third the weights before the sigmoid.

    Shape:
        as `nn.Conv2d`.

    Raises:
        ValueError: `deform_groups` does not divide `in_channels`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        deform_groups: int = 1,
        modulated: bool = False,
    ) -> None:
        self.geometry: dict[str, Any] = dict(stride=stride, padding=padding, dilation=dilation)
        super().__init__(in_channels, out_channels, kernel_size, groups=groups, bias=bias, **self.geometry)
        if in_channels % deform_groups:
            raise ValueError(f"{in_channels} input channels cannot be split into {deform_groups} deform_groups")
        self.deform_groups = deform_groups
        self.modulated = modulated
        self.taps = deform_groups * self.kernel_size[0] * self.kernel_size[1]
        self.conv_offset = nn.Conv2d(in_channels, self.taps * (3 if modulated else 2), kernel_size, **self.geometry)
        self.init_weights()

    def init_weights(self) -> None:
        """Reset the offsets to zero; mmengine calls this after it has initialised all convolutions."""
        nn.init.zeros_(self.conv_offset.weight)
        nn.init.zeros_(self.conv_offset.get_parameter("bias"))

    def forward(self, input: Tensor) -> Tensor:
        offsets, mask = self.conv_offset(input), None
        if self.modulated:
            offsets, logits = offsets.split([2 * self.taps, self.taps], dim=1)
            mask = logits.sigmoid()
        return deform_conv2d(
            input,
            self.weight,
            offsets,
            mask=mask,
            bias=self.bias,
            groups=self.groups,
            deform_groups=self.deform_groups,
            **self.geometry,
        )


@MODELS.register_module("DCNv2")
def modulated_deform_conv2d(*args: Any, **kwargs: Any) -> DeformConv2d:
    """A modulated `DeformConv2d`, registered as "DCNv2"."""
    return DeformConv2d(*args, modulated=True, **kwargs)
