from __future__ import annotations

from typing import NamedTuple

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from solo.masks.column_runs import runs_of_bitmaps
from solo.masks.transformed_runs import Drawing, Frame, Mass, ShownRuns, draw, measure, show, shrink

OUTSIDE = -1
BITMAPS = np.array([[[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 1, 1]], np.zeros((3, 4)), np.ones((3, 4))], np.uint8)


class Look(NamedTuple):
    """Source row of each row shown, source column of each column, OUTSIDE for background."""

    rows: np.ndarray
    columns: np.ndarray


def look(bitmaps: np.ndarray, at: Look) -> np.ndarray:
    """What is shown, drawn."""
    inside = (at.rows >= 0)[:, None] & (at.columns >= 0)
    return bitmaps[:, at.rows][:, :, at.columns] * inside


def edges(index: np.ndarray, size: int) -> np.ndarray:
    """Where the source's edges come to lie, counted one by one."""
    shown = np.flatnonzero(index >= 0)
    if not len(shown):
        return np.zeros(size + 1, int)
    before = np.array([(index[shown] < position).sum() for position in range(size + 1)])
    is_descending = index[shown[0]] > index[shown[-1]]
    return shown[0] + (len(shown) - before if is_descending else before)


def measured(bitmaps: np.ndarray, at: Look) -> Mass:
    return measure(seen(bitmaps, at))


def seen(bitmaps: np.ndarray, at: Look) -> ShownRuns:
    _, height, width = bitmaps.shape
    runs = runs_of_bitmaps([(0, 0, bitmap) for bitmap in bitmaps], height=height, width=width)
    return show(runs, Frame(edges(at.rows, height), edges(at.columns, width)))


def drawn(drawing: Drawing, size: tuple[int, int]) -> np.ndarray:
    """The masks on background."""
    bitmaps = np.zeros((len(drawing.windows), *size), bool)
    for bitmap, (x1, y1, x2, y2), start in zip(bitmaps, drawing.windows, drawing.starts, strict=True):
        pixels = drawing.pixels[start : start + (x2 - x1) * (y2 - y1)]
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
    """Any that resizes, flips, crops and pads can give; its length is a multiple of four."""
    new_size = draw(st.integers(1, 40))
    index = np.arange(new_size) * size // new_size
    index = index[:: draw(st.sampled_from([1, -1]))][draw(st.integers(0, new_size)) :]
    before, after = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    index = np.pad(index, (before, after), constant_values=OUTSIDE)
    return np.pad(index, (0, -len(index) % 4), constant_values=OUTSIDE)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[np.ndarray, Look]:
    count, height, width = draw(st.integers(1, 4)), draw(st.integers(1, 24)), draw(st.integers(1, 24))
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    bitmaps = rng.random((count, height, width)) < rng.choice([0, 0.05, 0.5, 0.95], size=(count, 1, 1))
    bitmaps[:, :, : rng.integers(0, width + 1)] |= rng.random((count, 1, 1)) < 0.3  # runs over several columns
    return bitmaps.astype(np.uint8), Look(draw(index_maps(height)), draw(index_maps(width)))


@given(scene=scenes())
def test_sums_are_those_of_the_drawn_masks(scene: tuple[np.ndarray, Look]) -> None:
    bitmaps, at = scene
    mass, shown = measured(bitmaps, at), look(bitmaps, at)
    np.testing.assert_array_equal(mass.pixels, shown.sum(axis=(1, 2)))
    np.testing.assert_array_equal(mass.x_sums, (shown * np.arange(shown.shape[2])).sum(axis=(1, 2)))
    np.testing.assert_array_equal(mass.y_sums, (shown * np.arange(shown.shape[1])[:, None]).sum(axis=(1, 2)))
    assert {values.dtype for values in mass} == {np.dtype(np.int64)}


@given(scene=scenes(), block=st.sampled_from([1, 2, 4]))
def test_drawings_are_those_of_the_masks(scene: tuple[np.ndarray, Look], block: int) -> None:
    """In windows that end, on each side, at a block with a pixel at least."""
    bitmaps, at = scene
    shown = look(bitmaps, at)
    drawing = draw(seen(bitmaps, at), block=block)
    expected = blocks_of(shown, block)
    np.testing.assert_array_equal(drawn(drawing, expected.shape[1:]), expected)
    for mask, window in zip(shown, drawing.windows.tolist(), strict=True):
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) // block for axis in (1, 0))
        tight = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1] if len(rows) else [0, 0, 0, 0]
        assert window == tight


@given(scene=scenes(), kept=st.integers(0, 2**30 - 1))
def test_only_some_rows_and_columns_are_kept(scene: tuple[np.ndarray, Look], kept: int) -> None:
    bitmaps, at = scene
    shown = look(bitmaps, at)
    rows, columns = (np.random.default_rng(kept).random(side) < 0.6 for side in shown.shape[1:])
    before = [np.concatenate([[0], of_axis.cumsum()]) for of_axis in (rows, columns)]
    mass = measure(shrink(seen(bitmaps, at), *before))
    np.testing.assert_array_equal(mass.pixels, shown[:, rows][:, :, columns].sum(axis=(1, 2)))


def test_by_hand() -> None:
    """Rows doubled and upside down; the last column shows nothing, the first two are the source's 1 and 2."""
    frame = Look(rows=np.array([2, 2, 1, 1, 0, 0]), columns=np.array([1, 2, OUTSIDE]))
    assert edges(frame.rows, 3).tolist() == [6, 4, 2, 0]
    assert edges(frame.columns, 4).tolist() == [0, 0, 1, 2, 2]
    mass = measured(BITMAPS, frame)
    assert mass.pixels.tolist() == [10, 0, 12]
    assert mass.x_sums.tolist() == [6, 0, 6]
    assert mass.y_sums.tolist() == [2 + 3 + 4 + 5 + 15, 0, 30]
    drawing = draw(seen(BITMAPS, frame))
    assert drawing.windows.tolist() == [[0, 0, 2, 6], [0, 0, 0, 0], [0, 0, 2, 6]]
    assert drawing.starts.tolist() == [0, 12, 12]
    assert drawing.pixels.astype(int).tolist() == [0, 0, 1, 1, 1, 1, *[1] * 6, *[1] * 12]
    # Blocks of two: the lowest left one has two pixels of the second column alone.
    assert draw(seen(BITMAPS, frame), block=2).pixels.astype(int).tolist() == [1, 1, 1, 1, 1, 1]


def test_a_frame_that_shows_nothing() -> None:
    frame = Look(rows=np.full(4, OUTSIDE), columns=np.array([1, 2]))
    assert not measured(BITMAPS, frame).pixels.any()
    drawing = draw(seen(BITMAPS, frame))
    assert not drawing.windows.any()
    assert not len(drawing.pixels)
