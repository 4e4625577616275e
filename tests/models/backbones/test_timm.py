"""TimmBackbone: maps, freezing and refusals; runs where timm is installed, which needs torchvision."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from solo.config import load_config
from solo.errors import ConfigError
from solo.models.backbones import TimmBackbone
from solo.registry import MODELS

NANO = "configs/shapes/solov2-nano_shapes.py"


def test_without_timm_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"TimmBackbone needs timm .*pip install solov2\[timm\]"):
        TimmBackbone(model_name="resnet18")


class TestWithTimm:
    @pytest.fixture(autouse=True)
    def _needs_timm(self) -> None:
        pytest.importorskip("timm", reason="timm is not installed", exc_type=ImportError)

    @pytest.mark.parametrize(
        ("model_name", "channels"),
        [
            ("resnet18", (64, 128, 256, 512)),
            ("mobilenetv3_small_050", (8, 16, 24, 288)),
            ("convnext_atto", (40, 80, 160, 320)),
        ],
    )
    def test_maps(self, model_name: str, channels: tuple[int, ...]) -> None:
        model = TimmBackbone(model_name=model_name).eval()
        with torch.no_grad():
            maps = model(torch.randn(1, 3, 64, 96))
        assert [tuple(level.shape[2:]) for level in maps] == [(16, 24), (8, 12), (4, 6), (2, 3)]
        assert tuple(level.shape[1] for level in maps) == model.channels
        if model_name != "mobilenetv3_small_050":
            assert model.channels == channels

    @pytest.mark.parametrize("frozen_stages", [-1, 0, 2, 4])
    def test_frozen_stages_have_no_gradients(self, frozen_stages: int) -> None:
        model = TimmBackbone(model_name="resnet18", frozen_stages=frozen_stages).train()
        frozen = {name.split(".")[1] for name, value in model.named_parameters() if not value.requires_grad}
        expected = {-1: set(), 0: {"conv1"}, 2: {"conv1", "bn1", "layer1", "layer2"}}
        assert frozen == expected.get(frozen_stages, {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"})
        for name, module in model.named_modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.training == (name.split(".")[1] not in frozen)

    def test_an_unknown_name_gets_a_suggestion(self) -> None:
        with pytest.raises(ConfigError, match=r"timm has no 'resnet19' \(did you mean 'resnet"):
            TimmBackbone(model_name="resnet19")

    def test_a_model_without_stride_4(self) -> None:
        with pytest.raises(ConfigError, match=r"has maps at strides \[16"):
            TimmBackbone(model_name="vit_tiny_patch16_224")

    def test_a_config_with_it_trains(self) -> None:
        config = load_config(NANO).model
        config.backbone = dict(type="TimmBackbone", model_name="resnet18")
        config.neck.in_channels = [64, 128, 256, 512]
        outputs = MODELS.build(config).eval()(torch.zeros(1, 3, 64, 64))
        assert outputs.mask_feats.shape[-2:] == (16, 16)

    def test_a_neck_with_other_channels_is_refused(self) -> None:
        config = load_config(NANO).model
        config.backbone = dict(type="TimmBackbone", model_name="resnet18")
        with pytest.raises(ConfigError, match=r"in_channels: expected \[64, 128, 256, 512\]"):
            MODELS.build(config)
