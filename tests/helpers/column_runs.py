"""Random bitmaps and the pixels of column runs, set one by one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from solo.masks.column_runs import ColumnRuns, runs_from_bitmaps


def rasterise(runs: ColumnRuns) -> np.ndarray:
    """Set the pixels run by run; fails where two runs have one in common."""
    bitmaps = np.zeros((runs.num_masks, runs.height, runs.width), np.uint8)
    for mask, column, top, bottom in zip(runs.mask, runs.column, *runs.rows, strict=True):
        assert top <= bottom
        bitmaps[mask, top:bottom, column] += 1
    assert bitmaps.max(initial=0) <= 1
    assert (np.diff(runs.mask) >= 0).all()
    return bitmaps


def runs_of_whole_bitmaps(masks: np.ndarray) -> ColumnRuns:
    return runs_from_bitmaps([(0, 0, mask) for mask in masks], height=masks.shape[1], width=masks.shape[2])


@st.composite
def bitmaps(draw: st.DrawFn) -> np.ndarray:
    count, height, width = draw(st.integers(0, 4)), draw(st.integers(1, 24)), draw(st.integers(1, 24))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    return (rng.random((count, height, width)) < rng.choice([0.0, 0.1, 0.9, 1.0], size=(count, 1, 1))).astype(np.uint8)


def pack(polygons: Sequence[Sequence[float]]) -> list[bytes]:
    """The polygons of an object as a data set stores them."""
    return [np.asarray(polygon, np.float64).tobytes() for polygon in polygons]
