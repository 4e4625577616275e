from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from solo.models import DecoupledSOLOHead, Grid, SOLOHead
from solo.models.decoders import build_mask_decoder
from solo.models.layers import DeformConv2d

STRIDES = (4, 8, 16, 32, 64)
GRID = Grid(num_grids=(5, 4, 3, 2, 2), strides=(8, 8, 16, 32, 32), scale_ranges=[(1, 9)] * 5)
CLASSES, CHANNELS = 3, 8
HEADS: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {
    "solo": (SOLOHead, {}),
    "decoupled": (DecoupledSOLOHead, {}),
    "light": (DecoupledSOLOHead, dict(shared_mask_tower=True)),
}


def head_of(kind: str, *, grid: Grid = GRID, **options: Any) -> nn.Module:
    cls, own = HEADS[kind]
    settings = dict(in_channels=6, feature_strides=STRIDES, feat_channels=CHANNELS, num_convs=2, num_groups=4)
    return cls(grid=grid, num_classes=CLASSES, **{**settings, **own, **options})


def pyramid(*, images: int = 2, size: tuple[int, int] = (64, 128)) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(images, 6, size[0] // s, size[1] // s, generator=generator) for s in STRIDES]


@pytest.mark.parametrize("kind", HEADS)
def test_outputs(kind: str) -> None:
    head = head_of(kind)
    outputs = head(pyramid())
    assert outputs.cls_logits.shape == (2, GRID.num_cells, CLASSES)
    assert outputs.mask_strides == head.mask_strides == (4, 4, 8, 16, 16)
    if kind == "solo":
        assert [tuple(level.shape[1:]) for level in outputs.mask_feats] == [
            (8, 8, 16), (8, 8, 16), (8, 4, 8), (8, 2, 4), (8, 2, 4)
        ]  # fmt: skip
        assert [tuple(level.shape) for level in outputs.kernels] == [(25, 8), (16, 8), (9, 8), (4, 8), (4, 8)]
        assert [len(level) for level in outputs.biases] == [25, 16, 9, 4, 4]
        return
    for logits in (outputs.x_logits, outputs.y_logits):
        assert [tuple(level.shape) for level in logits] == [
            (2, 5, 16, 32), (2, 4, 16, 32), (2, 3, 8, 16), (2, 2, 4, 8), (2, 2, 4, 8)
        ]  # fmt: skip


@pytest.mark.parametrize("kind", HEADS)
def test_every_predictor_starts_at_one_per_cent(kind: str) -> None:
    head = head_of(kind)
    predictors = {
        name: module
        for name, module in head.named_modules()
        if isinstance(module, nn.Conv2d) and module.bias is not None
    }
    assert len(predictors) == 1 + 5 * (1 if kind == "solo" else 2)
    for name, module in predictors.items():
        assert torch.allclose(module.bias, torch.tensor(-math.log(99))), name
        assert 0 < float(module.weight.detach().std()) < 0.02, name


@pytest.mark.parametrize("kind", HEADS)
def test_towers(kind: str) -> None:
    """Coordinates that a mask tower sees beside the six channels."""
    towers = {name: tower for name, tower in head_of(kind).named_children() if "mask_tower" in name}
    seen = {name: tower[0].conv.in_channels - 6 for name, tower in towers.items()}
    assert seen == ({"mask_tower_x": 1, "mask_tower_y": 1} if kind == "decoupled" else {"mask_tower": 2})


def test_columns_see_x_and_rows_see_y() -> None:
    """A pyramid without any content: columns differ along x alone, rows along y alone."""
    head = head_of("decoupled")
    for parameter in head.parameters():
        nn.init.normal_(parameter)
    with torch.no_grad():
        outputs = head([torch.zeros_like(level) for level in pyramid(size=(192, 192))])
    x, y = outputs.x_logits[0][0, 0, 12:-12, 12:-12], outputs.y_logits[0][0, 0, 12:-12, 12:-12]
    assert x.std(dim=1).min() > 1e-2 and x.std(dim=0).max() < 1e-4
    assert y.std(dim=0).min() > 1e-2 and y.std(dim=1).max() < 1e-4


@pytest.mark.parametrize("kind", HEADS)
def test_deformable_convolutions_stand_where_they_are_told(kind: str) -> None:
    head = head_of(kind, dcn=dict(type="DCN"), dcn_convs=(1,))
    found = {name for name, module in head.named_modules() if isinstance(module, DeformConv2d)}
    towers = [name for name, _ in head.named_children() if "tower" in name]
    assert found == {f"{tower}.1.conv" for tower in towers}


@pytest.mark.parametrize("kind", HEADS)
def test_smallest_input(kind: str) -> None:
    """32 x 32 pixels: the coarsest level has one pixel, and its masks four."""
    outputs = head_of(kind)([torch.randn(1, 6, max(1, 32 // s), max(1, 32 // s)) for s in STRIDES])
    decoder = build_mask_decoder(outputs)
    assert decoder.mask_size == (8, 8)
    assert decoder.decode(0, torch.arange(GRID.num_cells)).isfinite().all()


@pytest.mark.parametrize("kind", HEADS)
def test_settings_that_do_not_fit(kind: str) -> None:
    with pytest.raises(ValueError, match="do not fit a feature pyramid with strides"):
        head_of(kind, feature_strides=(4, 8, 16))
    with pytest.raises(ValueError, match="needs dcn, the config of these convolutions"):
        head_of(kind, dcn_convs=(1,))
