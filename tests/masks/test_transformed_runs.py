from __future__ import annotations

from typing import NamedTuple

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from solo.masks.transformed_runs import (
    AxisMaps,
    TransformedRuns,
    WindowBitmaps,
    areas_and_centers,
    rasterise_windows,
    transform_runs,
)
from tests.helpers.column_runs import runs_of_whole_bitmaps

OUTSIDE = -1
BITMAPS = np.array([[[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 1, 1]], np.zeros((3, 4)), np.ones((3, 4))], np.uint8)


class IndexMaps(NamedTuple):
    """Source row of each row and source column of each column, OUTSIDE for background."""

    rows: np.ndarray
    columns: np.ndarray


def transform(bitmaps: np.ndarray, maps: IndexMaps) -> np.ndarray:
    """The bitmaps in the transformed image."""
    inside = (maps.rows >= 0)[:, None] & (maps.columns >= 0)
    return bitmaps[:, maps.rows][:, :, maps.columns] * inside


def edges(index: np.ndarray, size: int) -> np.ndarray:
    """Where the edges of the source come to lie, counted one by one."""
    shown = np.flatnonzero(index >= 0)
    if not len(shown):
        return np.zeros(size + 1, int)
    before = np.array([(index[shown] < position).sum() for position in range(size + 1)])
    is_descending = index[shown[0]] > index[shown[-1]]
    return shown[0] + (len(shown) - before if is_descending else before)


def transformed_runs(bitmaps: np.ndarray, maps: IndexMaps) -> TransformedRuns:
    _, height, width = bitmaps.shape
    axis_maps = AxisMaps(edges(maps.rows, height), edges(maps.columns, width))
    return transform_runs(runs_of_whole_bitmaps(bitmaps), axis_maps)


def to_bitmaps(found: WindowBitmaps, size: tuple[int, int]) -> np.ndarray:
    """The masks on background."""
    bitmaps = np.zeros((len(found.windows), *size), bool)
    for bitmap, (x1, y1, x2, y2), start in zip(bitmaps, found.windows, found.starts, strict=True):
        pixels = found.pixels[start : start + (x2 - x1) * (y2 - y1)]
        bitmap[y1:y2, x1:x2] = pixels.reshape(x2 - x1, y2 - y1).T
    return bitmaps


def blocks_of(bitmaps: np.ndarray, block: int) -> np.ndarray:
    """Blocks of which `block` pixels are set, one by one."""
    count, height, width = bitmaps.shape
    blocks = np.zeros((count, -(-height // block), -(-width // block)), int)
    for mask, row, column in zip(*np.nonzero(bitmaps), strict=True):
        blocks[mask, row // block, column // block] += 1
    return blocks >= block


@st.composite
def index_maps(draw: st.DrawFn, size: int) -> np.ndarray:
    """Any map that resizes, flips, crops and pads can give; its length is a multiple of four."""
    new_size = draw(st.integers(1, 40))
    index = np.arange(new_size) * size // new_size
    index = index[:: draw(st.sampled_from([1, -1]))][draw(st.integers(0, new_size)) :]
    before, after = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    index = np.pad(index, (before, after), constant_values=OUTSIDE)
    return np.pad(index, (0, -len(index) % 4), constant_values=OUTSIDE)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[np.ndarray, IndexMaps]:
    count, height, width = draw(st.integers(1, 4)), draw(st.integers(1, 24)), draw(st.integers(1, 24))
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    bitmaps = rng.random((count, height, width)) < rng.choice([0, 0.05, 0.5, 0.95], size=(count, 1, 1))
    bitmaps[:, :, : rng.integers(0, width + 1)] |= rng.random((count, 1, 1)) < 0.3  # runs over several columns
    return bitmaps.astype(np.uint8), IndexMaps(draw(index_maps(height)), draw(index_maps(width)))


@given(scene=scenes())
def test_areas_and_centers_are_those_of_the_bitmaps(scene: tuple[np.ndarray, IndexMaps]) -> None:
    bitmaps, maps = scene
    (areas, centers), shown = areas_and_centers(transformed_runs(bitmaps, maps)), transform(bitmaps, maps)
    np.testing.assert_array_equal(areas, shown.sum(axis=(1, 2)))
    x_sums = (shown * np.arange(shown.shape[2])).sum(axis=(1, 2))
    y_sums = (shown * np.arange(shown.shape[1])[:, None]).sum(axis=(1, 2))
    with np.errstate(invalid="ignore"):
        expected = np.float32(x_sums) / np.float32(areas), np.float32(y_sums) / np.float32(areas)
    np.testing.assert_array_equal(centers.T, expected)
    assert (areas.dtype, centers.dtype) == (np.int64, np.float32)


@given(scene=scenes(), block=st.sampled_from([1, 2, 4]))
def test_windows_are_those_of_the_bitmaps(scene: tuple[np.ndarray, IndexMaps], block: int) -> None:
    """In windows that end, on each side, at a block with a pixel at least."""
    bitmaps, maps = scene
    shown = transform(bitmaps, maps)
    found = rasterise_windows(transformed_runs(bitmaps, maps), block=block)
    expected = blocks_of(shown, block)
    np.testing.assert_array_equal(to_bitmaps(found, expected.shape[1:]), expected)
    for mask, window in zip(shown, found.windows.tolist(), strict=True):
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) // block for axis in (1, 0))
        tight = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1] if len(rows) else [0, 0, 0, 0]
        assert window == tight
    if block == 1:
        np.testing.assert_array_equal(transformed_runs(bitmaps, maps).tight_boxes(), found.windows)


def test_by_hand() -> None:
    """Rows doubled and upside down; the last column shows nothing, the first two are the source's 1 and 2."""
    maps = IndexMaps(rows=np.array([2, 2, 1, 1, 0, 0]), columns=np.array([1, 2, OUTSIDE]))
    assert edges(maps.rows, 3).tolist() == [6, 4, 2, 0]
    assert edges(maps.columns, 4).tolist() == [0, 0, 1, 2, 2]
    areas, centers = areas_and_centers(transformed_runs(BITMAPS, maps))
    assert areas.tolist() == [10, 0, 12]
    expected = [[6 / 10, (2 + 3 + 4 + 5 + 15) / 10], [np.nan, np.nan], [6 / 12, 30 / 12]]
    np.testing.assert_array_equal(centers, np.array(expected, np.float32))
    found = rasterise_windows(transformed_runs(BITMAPS, maps))
    assert found.windows.tolist() == [[0, 0, 2, 6], [0, 0, 0, 0], [0, 0, 2, 6]]
    assert found.starts.tolist() == [0, 12, 12]
    assert found.pixels.astype(int).tolist() == [0, 0, 1, 1, 1, 1, *[1] * 6, *[1] * 12]
    # Blocks of two: the lowest left one has two pixels of the second column alone.
    assert rasterise_windows(transformed_runs(BITMAPS, maps), block=2).pixels.astype(int).tolist() == [1, 1, 1, 1, 1, 1]


def test_maps_that_show_nothing() -> None:
    maps = IndexMaps(rows=np.full(4, OUTSIDE), columns=np.array([1, 2]))
    areas, centers = areas_and_centers(transformed_runs(BITMAPS, maps))
    assert not areas.any()
    assert np.isnan(centers).all()
    found = rasterise_windows(transformed_runs(BITMAPS, maps))
    assert not found.windows.any()
    assert not len(found.pixels)
