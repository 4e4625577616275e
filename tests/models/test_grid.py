from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from solo.models import Grid

RANGES = [(1, 96), (48, 192), (96, 384), (192, 768), (384, 2048)]


def grid_of(*sides: int) -> Grid:
    return Grid(
        num_grids=sides, strides=[8 * (level + 1) for level in range(len(sides))], scale_ranges=[(1, 9)] * len(sides)
    )


def test_the_papers_grid() -> None:
    grid = Grid(num_grids=[40, 36, 24, 16, 12], strides=[8, 8, 16, 32, 32], scale_ranges=RANGES)
    assert grid.num_levels == 5
    assert grid.num_cells == 3872
    assert grid.level_sizes == (1600, 1296, 576, 256, 144)
    assert grid.scale_ranges[2] == (96.0, 384.0)


def test_cells_are_row_major_and_levels_in_order() -> None:
    """Each value names its level, row and column, so the flat axis can be read off."""
    grid = grid_of(3, 2)
    levels = [
        torch.tensor([[100 * level + 10 * row + column for column in range(side)] for row in range(side)])[None, None]
        for level, side in enumerate(grid.num_grids)
    ]
    cells = grid.flatten(levels)
    assert cells.shape == (1, 13, 1)
    assert cells.flatten().tolist() == [0, 1, 2, 10, 11, 12, 20, 21, 22, 100, 101, 110, 111]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(sides=st.lists(st.integers(1, 5), min_size=1, max_size=4), batch=st.integers(1, 2), channels=st.integers(1, 3))
def test_unflatten_is_the_inverse(sides: list[int], batch: int, channels: int) -> None:
    grid = grid_of(*sides)
    cells = torch.arange(batch * grid.num_cells * channels).view(batch, grid.num_cells, channels)
    levels = grid.unflatten(cells)
    assert [level.shape for level in levels] == [(batch, channels, side, side) for side in sides]
    assert torch.equal(grid.flatten(levels), cells)
    for level, again in zip(levels, grid.unflatten(grid.flatten(levels)), strict=True):
        assert torch.equal(level, again)


def test_flatten_against_loops(generator: torch.Generator) -> None:
    grid = grid_of(4, 1, 3)
    levels = [torch.randn(2, 3, side, side, generator=generator) for side in grid.num_grids]
    cells = grid.flatten(levels)
    rows: list[Tensor] = [
        level[:, :, y, x] for level in levels for y in range(level.shape[2]) for x in range(level.shape[3])
    ]
    assert torch.equal(cells, torch.stack(rows, dim=1))


def test_cell_strides() -> None:
    strides = grid_of(2, 1, 3).cell_strides()
    assert strides.dtype == torch.int64
    assert strides.tolist() == [8] * 4 + [16] + [24] * 9


def test_cell_strides_on_a_device() -> None:
    assert grid_of(2).cell_strides(torch.device("meta")).device.type == "meta"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(num_grids=[4, 2], strides=[8], scale_ranges=[(1, 2), (2, 3)]), "2, 1 and 2 entries"),
        (dict(num_grids=[4], strides=[8], scale_ranges=[]), "1, 1 and 0 entries"),
        (dict(num_grids=[], strides=[], scale_ranges=[]), "0, 0 and 0 entries"),
        (dict(num_grids=[4, 2], strides=[8, 8], scale_ranges=[(1, 9), (7, 3)]), r"scale range \(7, 3\) is empty"),
    ],
)
def test_levels_that_do_not_match(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Grid(**arguments)
