"""Which norms are folded, which stay, and that the network computes the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from mmengine.registry import DefaultScope
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import solo  # noqa: F401  (makes mmdet importable)
from solo.deployment.norm_folding import fold_norms
from solo.models.layers import DeformConv2d
from solo.registry import MODELS
from tests.helpers.deployment_models import images, largest_error, randomise_norms

BACKBONES = {
    "resnet": dict(type="mmdet.ResNet", depth=18, base_channels=8),
    "bottlenecks": dict(type="mmdet.ResNet", depth=50, base_channels=4, style="caffe"),
    "resnet-vd": dict(type="mmdet.ResNetV1d", depth=50, base_channels=4),
    "resnext": dict(type="mmdet.ResNeXt", depth=50, base_channels=32, groups=4, base_width=4),
    "deformable": dict(
        type="mmdet.ResNet",
        depth=50,
        base_channels=4,
        dcn=dict(type="DCNv2", deform_groups=1),
        stage_with_dcn=(False, False, True, True),
    ),
    "mobilenet": dict(type="MobileNetV3"),
    "synchronised": dict(type="mmdet.ResNet", depth=18, base_channels=8, norm_cfg=dict(type="SyncBN")),
}


def norms_of(network: nn.Module) -> list[str]:
    return [name for name, part in network.named_modules() if isinstance(part, _BatchNorm)]


@pytest.mark.parametrize("name", BACKBONES)
def test_all_norms_of_a_backbone_are_folded(name: str) -> None:
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("solo"):  # where mmdet's backbones find our deformable convolutions
        backbone = MODELS.build(BACKBONES[name])
    backbone.eval()
    randomise_norms(backbone)
    inputs, names = images(2, 3, 64, 96), norms_of(backbone)
    with torch.no_grad():
        expected = backbone(inputs)
        found = fold_norms(backbone, images(1, 3, 64, 64))
        assert largest_error(backbone(inputs), expected) < 1e-5
    assert (found.folded, found.kept) == (names, [])
    assert norms_of(backbone) == []
    assert len(names) > 15


def test_by_hand() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=0.0)).eval()
    values = dict(weight=3.0, bias=5.0, running_mean=1.0, running_var=4.0)
    for name, value in values.items():
        getattr(network[1], name).data.fill_(value)
    network[0].weight.data.fill_(2.0)
    assert network[0].bias is not None
    network[0].bias.data.fill_(7.0)
    fold_norms(network, torch.ones(1, 1, 2, 2))
    # (2 x + 7 - 1) * 3 / 2 + 5
    assert network[0].weight.item() == 3.0
    assert network[0].bias.item() == 14.0
    assert isinstance(network[1], nn.Identity)


class Wired(nn.Module):
    """A convolution and a norm, wired as `wiring` says."""

    def __init__(self, wiring: Callable[[Wired, Tensor], Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.bn = nn.BatchNorm2d(3)
        for name, part in parts.items():
            self.add_module(name, part)
        self.wiring = wiring

    def forward(self, inputs: Tensor) -> Tensor:
        return self.wiring(self, inputs)


class ScaledConv(nn.Conv2d):
    """A convolution that is not linear in its weights."""

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight / self.weight.norm(), self.bias)


def tied() -> Wired:
    network = Wired(lambda parts, x: parts.bn(parts.conv(x)) + parts.other(x), other=nn.Conv2d(3, 3, 3, padding=1))
    network.other.weight = network.conv.weight  # type: ignore[union-attr]
    return network


KEPT = {
    "something else reads the convolution": lambda: Wired(lambda parts, x: parts.bn(y := parts.conv(x)) + y),
    "a module reads it too": lambda: Wired(
        lambda parts, x: parts.bn(y := parts.conv(x)) + parts.other(y), other=nn.Conv2d(3, 3, 1)
    ),
    "no convolution before it": lambda: Wired(lambda parts, x: parts.conv(parts.bn(x))),
    "something between": lambda: Wired(lambda parts, x: parts.bn(parts.conv(x).relu())),
    "two norms": lambda: Wired(
        lambda parts, x: parts.bn(parts.conv(x)) + parts.other(parts.conv(x)), other=nn.BatchNorm2d(3)
    ),
    "two convolutions": lambda: Wired(
        lambda parts, x: parts.bn(parts.conv(x)) + parts.bn(parts.other(x)), other=nn.Conv2d(3, 3, 3, padding=1)
    ),
    "the convolution alone, elsewhere": lambda: Wired(lambda parts, x: parts.bn(parts.conv(x)) + parts.conv(x)),
    "another kind of convolution": lambda: Wired(
        lambda parts, x: parts.bn(parts.scaled(x)), scaled=ScaledConv(3, 3, 3, padding=1)
    ),
    "statistics of the batch": lambda: Wired(
        lambda parts, x: parts.batch(parts.conv(x)), batch=nn.BatchNorm2d(3, track_running_stats=False)
    ),
}


@pytest.mark.parametrize("reason", KEPT)
def test_a_norm_stays_and_is_named_if_its_convolution_does_not_feed_it_alone(reason: str) -> None:
    torch.manual_seed(0)
    network = KEPT[reason]().eval()
    for norm in [part for part in network.modules() if isinstance(part, nn.BatchNorm2d) and part.track_running_stats]:
        randomise_norms(norm)
    inputs = images(1, 3, 8, 8)
    with torch.no_grad():
        expected = network(inputs)
        found = fold_norms(network, inputs)
        assert torch.equal(network(inputs), expected)
    assert found.folded == []
    assert len(found.kept) >= 1


def test_a_pair_that_runs_twice_and_changes_in_place_is_folded() -> None:
    torch.manual_seed(0)
    network = Wired(lambda parts, x: parts.bn(parts.conv(parts.bn(parts.conv(x)).relu_())).add_(x).relu_()).eval()
    randomise_norms(network)
    inputs = images(1, 3, 8, 8)
    with torch.no_grad():
        expected = network(inputs.clone())
        found = fold_norms(network, inputs)
        torch.testing.assert_close(network(inputs.clone()), expected)
    assert found.folded == ["bn"]


def test_of_two_convolutions_that_share_weights_one_is_folded() -> None:
    torch.manual_seed(0)
    network = tied().eval()
    randomise_norms(network)
    inputs = images(1, 3, 8, 8)
    with torch.no_grad():
        expected = network(inputs)
        assert fold_norms(network, inputs).folded == ["bn"]
        torch.testing.assert_close(network(inputs), expected)


def test_a_pair_that_cannot_be_folded_leaves_the_others_folded() -> None:
    torch.manual_seed(0)
    odd = Wired(lambda parts, x: parts.bn(y := parts.conv(x)) + y)
    network = nn.Sequential(Wired(lambda parts, x: parts.bn(parts.conv(x))), odd).eval()
    randomise_norms(network)
    inputs = images(1, 3, 8, 8)
    with torch.no_grad():
        expected = network(inputs)
        found = fold_norms(network, inputs)
        torch.testing.assert_close(network(inputs), expected, rtol=1e-5, atol=1e-5)
    assert (found.folded, found.kept) == (["0.bn"], ["1.bn"])


def test_a_deformable_convolution_with_moved_taps() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(DeformConv2d(3, 4, 3, padding=1, bias=False, modulated=True), nn.BatchNorm2d(4)).eval()
    network[0].conv_offset.weight.data.normal_(0, 0.3)
    randomise_norms(network)
    inputs = images(1, 3, 12, 12)
    with torch.no_grad():
        expected = network(inputs)
        assert fold_norms(network, inputs).kept == []
        torch.testing.assert_close(network(inputs), expected, rtol=1e-5, atol=1e-5)


def test_nothing_to_fold_and_training_mode() -> None:
    assert fold_norms(nn.Conv2d(3, 3, 1).eval(), images(1, 3, 8, 8)).folded == []
    with pytest.raises(ValueError, match="training mode"):
        fold_norms(nn.BatchNorm2d(3), images(1, 3, 8, 8))


class NormWithActivation(nn.BatchNorm2d):
    """As timm's, which computes the activation too."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.act = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        return self.act(super().forward(features))


def test_the_activation_of_a_norm_stays() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 1), NormWithActivation(4), nn.Conv2d(4, 2, 1)).eval()
    sample = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        expected = network(sample)
    assert fold_norms(network, sample) == (["1"], [])
    assert not any(isinstance(part, nn.BatchNorm2d) for part in network.modules())
    with torch.no_grad():
        torch.testing.assert_close(network(sample), expected)
