"""MobileNetV3-large as in PaddleDetection's SOLOv2, which reads its maps inside the blocks."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final, NamedTuple

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from solo.registry import MODELS


class Block(NamedTuple):
    """A row of table 1 of the paper."""

    kernel_size: int
    hidden_channels: int
    out_channels: int
    has_gate: bool
    activation: type[nn.Module]
    stride: int


STEM_CHANNELS = 16
LAST_CHANNELS = 960
LARGE: Final = (
    Block(3, 16, 16, False, nn.ReLU, 1),
    Block(3, 64, 24, False, nn.ReLU, 2),
    Block(3, 72, 24, False, nn.ReLU, 1),
    Block(5, 72, 40, True, nn.ReLU, 2),
    Block(5, 120, 40, True, nn.ReLU, 1),
    Block(5, 120, 40, True, nn.ReLU, 1),
    Block(3, 240, 80, False, nn.Hardswish, 2),
    Block(3, 200, 80, False, nn.Hardswish, 1),
    Block(3, 184, 80, False, nn.Hardswish, 1),
    Block(3, 184, 80, False, nn.Hardswish, 1),
    Block(3, 480, 112, True, nn.Hardswish, 1),
    Block(3, 672, 112, True, nn.Hardswish, 1),
    Block(5, 672, 160, True, nn.Hardswish, 2),
    Block(5, 960, 160, True, nn.Hardswish, 1),
    Block(5, 960, 160, True, nn.Hardswish, 1),
)
# The blocks with a stride of 2 after strides 4, 8 and 16: their expanded inputs are the maps at these strides.
MAP_BLOCKS: Final = (3, 6, 12)
SQUEEZE_RATIO = 4


@MODELS.register_module()
class MobileNetV3(BaseModule):
    """MobileNetV3-large, width 1.0 (Howard et al. 2019), as PaddleDetection 0.5's `MobileNetV3RCNN`.

    The maps at strides 4, 8 and 16 are the expanded inputs of the blocks that halve them, the map at stride 32 is the
    output of the last 1x1 convolution.

    Args:
        freeze_norm: freeze the weights and statistics of the batch normalisations.

    Shape:
        (B, 3, H, W), sides divisible by 32, -> four maps (B, 72, H/4, W/4), (B, 240, H/8, W/8), (B, 672, H/16, W/16),
        (B, 960, H/32, W/32).
    """

    def __init__(self, *, freeze_norm: bool = False, init_cfg: dict[str, Any] | None = None) -> None:
        super().__init__(init_cfg)
        self.freeze_norm = freeze_norm
        self.conv1 = _conv_norm(3, STEM_CHANNELS, kernel_size=3, stride=2, activation=nn.Hardswish)
        blocks, channels = [], STEM_CHANNELS
        for block in LARGE:
            blocks.append(InvertedResidual(channels, block))
            channels = block.out_channels
        self.blocks = nn.ModuleList(blocks)
        self.conv_last = _conv_norm(channels, LAST_CHANNELS, activation=nn.Hardswish)
        if freeze_norm:
            for norm in self._norms():
                norm.requires_grad_(False)

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        features = self.conv1(inputs)
        maps = []
        for index, block in enumerate(self.blocks):
            features, expanded = block(features)
            if index in MAP_BLOCKS:
                maps.append(expanded)
        return (*maps, self.conv_last(features))

    def train(self, mode: bool = True) -> MobileNetV3:
        """Set the mode; frozen norms stay in evaluation mode."""
        super().train(mode)
        if self.freeze_norm:
            for norm in self._norms():
                norm.eval()
        return self

    def _norms(self) -> list[nn.BatchNorm2d]:
        return [module for module in self.modules() if isinstance(module, nn.BatchNorm2d)]


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise convolution, gate, 1x1 projection; a shortcut where the shapes agree.

    Shape:
        (B, in_channels, H, W) -> (B, out_channels, H/stride, W/stride) and the expanded input (B, hidden, H, W).
    """

    def __init__(self, in_channels: int, block: Block) -> None:
        super().__init__()
        hidden = block.hidden_channels
        self.expand = _conv_norm(in_channels, hidden, activation=block.activation)
        options: dict[str, Any] = dict(kernel_size=block.kernel_size, stride=block.stride, groups=hidden)
        self.depthwise = _conv_norm(hidden, hidden, activation=block.activation, **options)
        self.gate = SqueezeExcitation(hidden) if block.has_gate else nn.Identity()
        self.linear = _conv_norm(hidden, block.out_channels)
        self.adds_input = block.stride == 1 and in_channels == block.out_channels

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        expanded = self.expand(inputs)
        outputs = self.linear(self.gate(self.depthwise(expanded)))
        return inputs + outputs if self.adds_input else outputs, expanded


class SqueezeExcitation(nn.Module):
    """Scale each channel by a gate computed from the means of all channels (Hu et al. 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, channels // SQUEEZE_RATIO, 1)
        self.excite = nn.Conv2d(channels // SQUEEZE_RATIO, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        hidden = torch.relu(self.squeeze(features.mean(dim=(2, 3), keepdim=True)))
        # Paddle's hard sigmoid; that of torch has a slope of 1/6.
        return features * (0.2 * self.excite(hidden) + 0.5).clamp(0, 1)


def _conv_norm(
    in_channels: int,
    out_channels: int,
    *,
    kernel_size: int = 1,
    stride: int = 1,
    groups: int = 1,
    activation: type[nn.Module] | None = None,
) -> nn.Sequential:
    padding = kernel_size // 2
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False)
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv=conv, bn=nn.BatchNorm2d(out_channels))
    if activation is not None:
        layers["activation"] = activation()
    return nn.Sequential(layers)
