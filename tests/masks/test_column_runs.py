from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from solo.masks.column_runs import merge_runs, ranges, runs_from_bitmaps
from tests.helpers.column_runs import bitmaps, rasterise, runs_of_whole_bitmaps


@given(masks=bitmaps(), top=st.integers(0, 3), left=st.integers(0, 3))
def test_parts_of_bitmaps(masks: np.ndarray, top: int, left: int) -> None:
    """The given parts on background, at their places."""
    whole = np.pad(masks, [(0, 0), (top, 2), (left, 1)])
    runs = runs_from_bitmaps([(left, top, mask) for mask in masks], height=whole.shape[1], width=whole.shape[2])
    np.testing.assert_array_equal(rasterise(runs), whole)


@given(masks=bitmaps(), data=st.data())
def test_selection(masks: np.ndarray, data: st.DataObject) -> None:
    """In any order, with repetitions."""
    runs = runs_of_whole_bitmaps(masks)
    positions = data.draw(st.lists(st.integers(0, len(masks) - 1), max_size=6)) if len(masks) else []
    chosen = np.array(positions, np.int64)
    np.testing.assert_array_equal(rasterise(runs.select(chosen)), masks[chosen])


@given(masks=bitmaps(), seed=st.integers(0, 99))
def test_tables_become_one(masks: np.ndarray, seed: int) -> None:
    height, width = masks.shape[1:]
    order = np.random.default_rng(seed).permutation(len(masks)).tolist()
    parts = [sorted(order[: len(order) // 2]), sorted(order[len(order) // 2 :])]
    tables = [runs_from_bitmaps([(0, 0, masks[i]) for i in part], height=height, width=width) for part in parts]
    merged = merge_runs(list(zip(tables, parts, strict=True)), num_masks=len(masks))
    np.testing.assert_array_equal(rasterise(merged), masks)


@given(masks=bitmaps())
def test_areas_and_boxes(masks: np.ndarray) -> None:
    runs = runs_of_whole_bitmaps(masks)
    assert runs.areas().tolist() == masks.sum(axis=(1, 2)).tolist()
    for mask, box in zip(masks, runs.tight_boxes().tolist(), strict=True):
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        assert box == ([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1] if len(rows) else [0, 0, 0, 0])


def test_runs_without_a_pixel_do_not_count() -> None:
    runs = runs_from_bitmaps([(3, 2, np.ones((2, 1)))], height=9, width=9)
    longer = runs._replace(
        mask=np.array([0, 0]), column=np.array([3, 8]), rows=np.concatenate([runs.rows, [[7], [7]]], axis=1)
    )
    assert (longer.areas().tolist(), longer.tight_boxes().tolist()) == ([2], [[3, 2, 4, 4]])


def test_by_hand() -> None:
    runs = runs_from_bitmaps([(1, 0, np.array([[0, 5], [1, 1], [1, 0]]))], height=3, width=4)
    assert (runs.column.tolist(), runs.rows.tolist()) == ([1, 2], [[1, 0], [3, 2]])
    assert ranges(np.array([3, 9, 0]), np.array([2, 0, 3])).tolist() == [3, 4, 0, 1, 2]
