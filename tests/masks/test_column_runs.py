from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from solo.masks.column_runs import ColumnRuns, merge_runs, ranges, runs_of_bitmaps


def draw(runs: ColumnRuns) -> np.ndarray:
    """Pixel by pixel; fails where two runs have one in common."""
    bitmaps = np.zeros((runs.num_masks, runs.height, runs.width), np.uint8)
    for mask, column, top, bottom in zip(runs.mask, runs.column, *runs.rows, strict=True):
        assert top <= bottom
        bitmaps[mask, top:bottom, column] += 1
    assert bitmaps.max(initial=0) <= 1
    assert (np.diff(runs.mask) >= 0).all()
    return bitmaps


@st.composite
def bitmaps(draw: st.DrawFn) -> np.ndarray:
    count, height, width = draw(st.integers(0, 4)), draw(st.integers(1, 24)), draw(st.integers(1, 24))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    return (rng.random((count, height, width)) < rng.choice([0.0, 0.1, 0.9, 1.0], size=(count, 1, 1))).astype(np.uint8)


@given(masks=bitmaps(), top=st.integers(0, 3), left=st.integers(0, 3))
def test_parts_of_bitmaps(masks: np.ndarray, top: int, left: int) -> None:
    """The given parts on background, at their places."""
    whole = np.pad(masks, [(0, 0), (top, 2), (left, 1)])
    runs = runs_of_bitmaps([(left, top, mask) for mask in masks], height=whole.shape[1], width=whole.shape[2])
    np.testing.assert_array_equal(draw(runs), whole)


@given(masks=bitmaps(), data=st.data())
def test_selection(masks: np.ndarray, data: st.DataObject) -> None:
    """In any order, with repetitions."""
    runs = runs_of_bitmaps([(0, 0, mask) for mask in masks], height=masks.shape[1], width=masks.shape[2])
    positions = data.draw(st.lists(st.integers(0, len(masks) - 1), max_size=6)) if len(masks) else []
    chosen = np.array(positions, np.int64)
    np.testing.assert_array_equal(draw(runs.of(chosen)), masks[chosen])


@given(masks=bitmaps(), seed=st.integers(0, 99))
def test_tables_become_one(masks: np.ndarray, seed: int) -> None:
    height, width = masks.shape[1:]
    order = np.random.default_rng(seed).permutation(len(masks)).tolist()
    parts = [sorted(order[: len(order) // 2]), sorted(order[len(order) // 2 :])]
    tables = [runs_of_bitmaps([(0, 0, masks[i]) for i in part], height=height, width=width) for part in parts]
    merged = merge_runs(list(zip(tables, parts, strict=True)), num_masks=len(masks))
    np.testing.assert_array_equal(draw(merged), masks)


def test_by_hand() -> None:
    runs = runs_of_bitmaps([(1, 0, np.array([[0, 5], [1, 1], [1, 0]]))], height=3, width=4)
    assert (runs.column.tolist(), runs.rows.tolist()) == ([1, 2], [[1, 0], [3, 2]])
    assert ranges(np.array([3, 9, 0]), np.array([2, 0, 3])).tolist() == [3, 4, 0, 1, 2]
