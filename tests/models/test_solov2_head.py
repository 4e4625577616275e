from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from solo.models import Grid, SOLOv2Head
from solo.models.layers import DeformConv2d

STRIDES = (4, 8, 16, 32, 64)


def head_of(
    num_grids: tuple[int, ...] = (5, 4, 3, 2, 1), strides: tuple[int, ...] = (8, 8, 16, 32, 32), **options: Any
) -> SOLOv2Head:
    grid = Grid(num_grids=num_grids, strides=strides, scale_ranges=[(1, 9)] * len(num_grids))
    settings = dict(
        num_classes=3,
        in_channels=4,
        feature_strides=STRIDES,
        feat_channels=8,
        num_convs=2,
        kernel_channels=6,
        num_groups=2,
    )
    return SOLOv2Head(grid=grid, **{**settings, **options}).eval()


def pyramid(batch: int, height: int, width: int, generator: torch.Generator, channels: int = 4) -> list[Tensor]:
    return [
        torch.randn(batch, channels, -(-height // stride), -(-width // stride), generator=generator)
        for stride in STRIDES
    ]


def oracle(head: SOLOv2Head, features: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The published recipe in plain functions: P2 halved, P6 at P5's size, coordinates, grid, towers."""
    weights = head.state_dict()

    def tower(name: str, maps: Tensor) -> Tensor:
        for block in range(2):
            maps = F.conv2d(maps, weights[f"{name}.{block}.conv.weight"], padding=1)
            maps = F.group_norm(maps, 2, weights[f"{name}.{block}.norm.weight"], weights[f"{name}.{block}.norm.bias"])
            maps = maps.relu()
        return maps

    first, *middle, last = features
    maps = [F.interpolate(first, features[1].shape[-2:], mode="bilinear"), *middle]
    maps.append(F.interpolate(last, features[-2].shape[-2:], mode="bilinear"))
    classes, kernels = [], []
    for feature, side in zip(maps, head.grid.num_grids, strict=True):
        batch, _, height, width = feature.shape
        x = torch.linspace(-1, 1, width).view(1, 1, 1, width).expand(batch, 1, height, width)
        y = torch.linspace(-1, 1, height).view(1, 1, height, 1).expand(batch, 1, height, width)
        located = F.interpolate(torch.cat([feature, x, y], dim=1), (side, side), mode="bilinear")
        plain = F.interpolate(feature, (side, side), mode="bilinear")
        for branch, tower_input, found in (("category", plain, classes), ("kernel", located, kernels)):
            predicted = F.conv2d(
                tower(f"{branch}_tower", tower_input),
                weights[f"{branch}_predictor.weight"],
                weights[f"{branch}_predictor.bias"],
                padding=1,
            )
            found += [predicted[:, :, row, column] for row in range(side) for column in range(side)]
    return torch.stack(classes, dim=1), torch.stack(kernels, dim=1)


@pytest.mark.parametrize("size", [(64, 64), (96, 160), (32, 32), (64, 224)])
@pytest.mark.parametrize("batch", [1, 3])
def test_against_plain_functions(size: tuple[int, int], batch: int, generator: torch.Generator) -> None:
    head = head_of()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    features = pyramid(batch, *size, generator=generator)
    with torch.no_grad():
        cls_logits, kernels = head(features)
        expected_logits, expected_kernels = oracle(head, features)
    assert cls_logits.shape == (batch, 55, 3)
    assert kernels.shape == (batch, 55, 6)
    torch.testing.assert_close(cls_logits, expected_logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(kernels, expected_kernels, rtol=1e-4, atol=1e-5)


def test_only_the_kernel_branch_sees_coordinates() -> None:
    head = head_of()
    features = [torch.zeros_like(level) for level in pyramid(1, 64, 64, torch.Generator())]
    cls_logits, kernels = head(features)
    torch.testing.assert_close(cls_logits, torch.full((1, 55, 3), -math.log(99)), rtol=1e-6, atol=0)
    assert kernels[0, :25].unique(dim=0).shape[0] > 9, "each cell of a level has a kernel of its own"


def test_levels_do_not_mix_and_share_their_weights(generator: torch.Generator) -> None:
    head = head_of((3, 3, 3, 3, 3), (4, 8, 16, 32, 64))
    features = pyramid(1, 64, 64, generator)
    logits, kernels = head(features)
    changed = [level.clone() for level in features]
    changed[2] += torch.randn(changed[2].shape, generator=generator)
    new_logits, new_kernels = head(changed)
    for one, other in ((logits, new_logits), (kernels, new_kernels)):
        levels = (one != other).any(dim=2).view(5, 9).any(dim=1)
        assert levels.tolist() == [False, False, True, False, False]

    same = [features[0]] * 5
    logits, kernels = head(same)
    assert torch.equal(logits, logits[:, :9].repeat(1, 5, 1))
    assert torch.equal(kernels, kernels[:, :9].repeat(1, 5, 1))


def test_initial_weights() -> None:
    head = head_of(feat_channels=64, in_channels=64, num_groups=32)
    for name, parameter in head.named_parameters():
        if parameter.ndim == 4:
            assert parameter.std().item() == pytest.approx(0.01, rel=0.1), name
            assert abs(parameter.mean().item()) < 1e-3, name
    assert head.kernel_predictor.bias.abs().max() == 0
    assert head.category_predictor.bias.sigmoid().tolist() == pytest.approx([0.01] * 3)


def test_the_initial_weights_survive_init_weights() -> None:
    head = head_of()
    before = {name: tensor.clone() for name, tensor in head.state_dict().items()}
    head.init_weights()
    assert all(torch.equal(before[name], tensor) for name, tensor in head.state_dict().items())


@pytest.mark.parametrize(
    ("num_grids", "strides", "feature_strides"),
    [
        pytest.param((4, 2), (8, 16), STRIDES, id="fewer levels than maps"),
        pytest.param((5, 4, 3, 2, 1), (8, 8, 16, 32, 128), STRIDES, id="a stride that no map has"),
        pytest.param((5, 4), (4, 8), (8, 16), id="finer than the finest map"),
    ],
)
def test_grid_that_does_not_fit_the_pyramid(
    num_grids: tuple[int, ...], strides: tuple[int, ...], feature_strides: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"grid strides \(.*\) do not fit a feature pyramid with strides \(") as error:
        head_of(num_grids, strides, feature_strides=feature_strides)
    assert str(strides) in str(error.value) and str(feature_strides) in str(error.value)


def test_groups_that_do_not_divide_the_channels() -> None:
    with pytest.raises(ValueError, match="8 channels cannot be normalised in 3 groups"):
        head_of(num_groups=3)


def test_another_number_of_maps(generator: torch.Generator) -> None:
    with pytest.raises(ValueError):
        head_of()(pyramid(1, 64, 64, generator)[:4])


@pytest.mark.parametrize(("dcn_convs", "deformable"), [(None, [True, True]), ((1,), [False, True])])
def test_deformable_convolutions_of_both_towers(
    dcn_convs: tuple[int, ...] | None, deformable: list[bool], generator: torch.Generator
) -> None:
    head = head_of(dcn=dict(type="DCNv2"), dcn_convs=dcn_convs)
    for tower in (head.category_tower, head.kernel_tower):
        assert [isinstance(block.conv, DeformConv2d) for block in tower] == deformable
    names = {name for name in head.state_dict() if "conv_offset" in name}
    assert names == {
        f"{tower}_tower.{index}.conv.conv_offset.{name}"
        for tower in ("category", "kernel")
        for index in range(2)
        for name in ("weight", "bias")
        if deformable[index]
    }
    cls_logits, kernels = head(pyramid(2, 64, 96, generator))
    assert (cls_logits.shape, kernels.shape) == ((2, 55, 3), (2, 55, 6))
    (cls_logits.sum() + kernels.sum()).backward()
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_initial_weights_of_deformable_convolutions() -> None:
    head = head_of(feat_channels=64, in_channels=64, num_groups=32, dcn=dict(type="DCNv2", bias=True))
    head.init_weights()
    for tower in (head.category_tower, head.kernel_tower):
        for block in tower:
            assert block.conv.weight.std().item() == pytest.approx(0.01, rel=0.1)
            assert not any(tensor.any() for tensor in (block.conv.bias, *block.conv.conv_offset.parameters()))
    assert head.category_predictor.bias.sigmoid().tolist() == pytest.approx([0.01] * 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(dcn=dict(type="DCNv2"), dcn_convs=(2,)), r"dcn_convs=\(2,\) must name convolutions from 0 to 1"),
        (dict(dcn_convs=(1,)), r"dcn_convs=\(1,\) needs dcn"),
    ],
)
def test_deformable_convolutions_that_are_not_there(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        head_of(**options)


def test_drop_block_stands_behind_both_towers_while_training(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every pixel a centre both towers are lost: what is left are the predictors' biases."""
    head = head_of((7, 6, 5, 4, 3), drop_block=dict(block_size=3, keep_prob=0.9))
    features = pyramid(1, 64, 64, generator)
    plain = head(features)
    assert head.state_dict().keys() == head_of((7, 6, 5, 4, 3)).state_dict().keys()
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.zeros(shape))
    for outputs, predictor in zip(
        head.train()(features), (head.category_predictor, head.kernel_predictor), strict=True
    ):
        assert torch.equal(outputs, predictor.bias.expand_as(outputs))
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.ones(shape))
    for outputs, expected in zip(head(features), plain, strict=True):
        torch.testing.assert_close(outputs, expected)


def test_drop_block_draws_for_each_tower(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[torch.Size] = []
    monkeypatch.setattr(torch, "rand", lambda shape, **_: shapes.append(shape) or torch.ones(shape))
    head_of((7, 6, 5, 4, 3), drop_block={}).train()(pyramid(2, 64, 64, generator))
    assert shapes == [(2, 8, side, side) for side in (7, 6, 5, 4, 3) for _ in range(2)]


def test_a_grid_smaller_than_a_dropped_square_is_refused() -> None:
    with pytest.raises(ValueError, match="a map of 2 x 2 cannot lose squares with a side of 3"):
        head_of((5, 4, 3, 3, 2), drop_block={})


def test_a_model_without_mask_features_is_refused() -> None:
    with pytest.raises(ValueError, match="the model needs `mask_feature`"):
        head_of(kernel_channels=None)
