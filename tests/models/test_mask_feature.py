from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from solo.models import MaskFeatureBranch
from solo.models.layers import DeformConv2d


def branch_of(**options: Any) -> MaskFeatureBranch:
    settings = dict(in_channels=4, num_levels=4, feat_channels=8, out_channels=6, num_groups=2)
    return MaskFeatureBranch(**{**settings, **options}).eval()


def pyramid(height: int, width: int, generator: torch.Generator, *, maps: int = 5) -> list[Tensor]:
    return [
        torch.randn(2, 4, -(-height // 2 ** (2 + level)), -(-width // 2 ** (2 + level)), generator=generator)
        for level in range(maps)
    ]


def oracle(branch: MaskFeatureBranch, features: list[Tensor], num_levels: int) -> Tensor:
    """The published recipe in plain functions: level i is convolved and doubled i times, then all are summed."""
    weights = branch.state_dict()

    def block(maps: Tensor, name: str, padding: int) -> Tensor:
        maps = F.conv2d(maps, weights[f"{name}.conv.weight"], padding=padding)
        return F.group_norm(maps, 2, weights[f"{name}.norm.weight"], weights[f"{name}.norm.bias"]).relu()

    total = torch.zeros(())
    for level in range(num_levels):
        maps = features[level]
        if level == num_levels - 1:
            batch, _, height, width = maps.shape
            x = torch.linspace(-1, 1, width).view(1, 1, 1, width).expand(batch, 1, height, width)
            y = torch.linspace(-1, 1, height).view(1, 1, height, 1).expand(batch, 1, height, width)
            maps = torch.cat([maps, x, y], dim=1)
        if level == 0:
            maps = block(maps, "levels.0.0", padding=1)
        for doubling in range(level):
            maps = block(maps, f"levels.{level}.{2 * doubling}", padding=1)
            maps = F.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)
        total = total + maps
    return block(total, "predictor", padding=0)


@pytest.mark.parametrize("num_levels", [1, 2, 4])
@pytest.mark.parametrize("size", [(64, 64), (32, 96), (160, 32)])
def test_against_plain_functions(num_levels: int, size: tuple[int, int], generator: torch.Generator) -> None:
    branch = branch_of(num_levels=num_levels)
    for parameter in branch.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    features = pyramid(*size, generator=generator)
    with torch.no_grad():
        mask_feats = branch(features)
        expected = oracle(branch, features, num_levels)
    assert mask_feats.shape == (2, 6, size[0] // 4, size[1] // 4)
    torch.testing.assert_close(mask_feats, expected, rtol=1e-4, atol=1e-5)


def test_number_of_blocks() -> None:
    branch = branch_of()
    convolutions = [[tuple(w.shape[:2]) for w in level.parameters() if w.ndim == 4] for level in branch.levels]
    assert convolutions == [[(8, 4)], [(8, 4)], [(8, 4), (8, 8)], [(8, 6), (8, 8), (8, 8)]]


def test_maps_beyond_the_fused_ones_are_left_alone(generator: torch.Generator) -> None:
    branch, features = branch_of(), pyramid(64, 64, generator)
    expected = branch(features)
    assert torch.equal(branch([*features[:4], features[4] + 1]), expected)
    assert torch.equal(branch(features[:4]), expected)


def test_features_are_left_alone(generator: torch.Generator) -> None:
    features = pyramid(64, 64, generator)
    before = [level.clone() for level in features]
    branch_of()(features)
    assert all(torch.equal(*pair) for pair in zip(features, before, strict=True))


def test_initial_weights() -> None:
    branch = branch_of(in_channels=64, feat_channels=64, out_channels=64, num_groups=32)
    for name, parameter in branch.named_parameters():
        if parameter.ndim == 4:
            assert parameter.std().item() == pytest.approx(0.01, rel=0.1), name


@pytest.mark.parametrize(("option", "channels"), [("feat_channels", 9), ("out_channels", 7)])
def test_groups_that_do_not_divide_the_channels(option: str, channels: int) -> None:
    with pytest.raises(ValueError, match=f"{channels} channels cannot be normalised in 2 groups; set num_groups"):
        branch_of(**{option: channels})


def test_deformable_convolutions_take_the_place_of_all_others(generator: torch.Generator) -> None:
    branch = branch_of(dcn=dict(type="DCNv2", bias=True))
    shapes = {name: tuple(t.shape) for name, t in branch.state_dict().items() if name.endswith("conv_offset.weight")}
    assert shapes == {
        "levels.0.0.conv.conv_offset.weight": (27, 4, 3, 3),
        "levels.1.0.conv.conv_offset.weight": (27, 4, 3, 3),
        "levels.2.0.conv.conv_offset.weight": (27, 4, 3, 3),
        "levels.2.2.conv.conv_offset.weight": (27, 8, 3, 3),
        "levels.3.0.conv.conv_offset.weight": (27, 6, 3, 3),
        "levels.3.2.conv.conv_offset.weight": (27, 8, 3, 3),
        "levels.3.4.conv.conv_offset.weight": (27, 8, 3, 3),
        "predictor.conv.conv_offset.weight": (3, 8, 1, 1),
    }
    for module in branch.modules():
        if isinstance(module, DeformConv2d):
            assert not any(tensor.any() for tensor in (module.bias, *module.conv_offset.parameters()))
    mask_feats = branch(pyramid(64, 96, generator))
    assert mask_feats.shape == (2, 6, 16, 24)
    mask_feats.sum().backward()
    assert all(parameter.grad is not None for parameter in branch.parameters())
