from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solo.datasets.mask_sampling import OUTSIDE, ColumnRuns, Frame, cut_at_columns, measure, sample, windows
from solo.datasets.run_lengths import RunLengths, runs_of_bitmap

BITMAPS = np.array([[[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 1, 1]], np.zeros((3, 4)), np.ones((3, 4))], np.uint8)


def runs_of(bitmaps: np.ndarray) -> list[RunLengths]:
    height, width = bitmaps.shape[1:]
    return [runs_of_bitmap(bitmap, top=0, left=0, height=height, width=width) for bitmap in bitmaps]


def look(bitmaps: np.ndarray, frame: Frame) -> np.ndarray:
    """What the frame shows, drawn."""
    inside = (frame.rows >= 0)[:, None] & (frame.columns >= 0)
    return bitmaps[:, frame.rows][:, :, frame.columns] * inside


def cut(bitmaps: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    return np.concatenate([b[y1:y2, x1:x2].T.ravel() for b, (x1, y1, x2, y2) in zip(bitmaps, cuts, strict=True)])


def draw(masks: ColumnRuns, frame: Frame, cuts: np.ndarray) -> np.ndarray:
    return sample(masks, frame, cuts, shown=np.arange(len(cuts)))


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
def scenes(draw: st.DrawFn) -> tuple[np.ndarray, Frame, np.random.Generator]:
    count, height, width = draw(st.integers(1, 4)), draw(st.integers(1, 24)), draw(st.integers(1, 24))
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    bitmaps = rng.random((count, height, width)) < rng.choice([0, 0.05, 0.5, 0.95], size=(count, 1, 1))
    bitmaps[:, :, : rng.integers(0, width + 1)] |= rng.random((count, 1, 1)) < 0.3  # runs over several columns
    return bitmaps.astype(np.uint8), Frame(draw(index_maps(height)), draw(index_maps(width))), rng


@given(scene=scenes())
def test_sums_are_those_of_the_drawn_masks(scene: tuple[np.ndarray, Frame, np.random.Generator]) -> None:
    bitmaps, frame, _ = scene
    mass, shown = measure(cut_at_columns(runs_of(bitmaps)), frame), look(bitmaps, frame)
    np.testing.assert_array_equal(mass.pixels, shown.sum(axis=(1, 2)))
    np.testing.assert_array_equal(mass.x_sums, (shown * np.arange(shown.shape[2])).sum(axis=(1, 2)))
    np.testing.assert_array_equal(mass.y_sums, (shown * np.arange(shown.shape[1])[:, None]).sum(axis=(1, 2)))
    assert {values.dtype for values in mass} == {np.dtype(np.int64)}


@given(scene=scenes(), block=st.sampled_from([1, 2, 4]))
def test_windows_hold_all_that_is_shown(scene: tuple[np.ndarray, Frame, np.random.Generator], block: int) -> None:
    bitmaps, frame, _ = scene
    masks, shown = cut_at_columns(runs_of(bitmaps)), look(bitmaps, frame)
    cuts = windows(masks, frame, block=block) * block
    np.testing.assert_array_equal(draw(masks, frame, cuts), cut(shown, cuts))
    for mask, (x1, y1, x2, y2) in zip(shown, cuts, strict=True):
        assert mask[y1:y2, x1:x2].sum() == mask.sum()


@given(scene=scenes())
def test_any_window_can_be_drawn(scene: tuple[np.ndarray, Frame, np.random.Generator]) -> None:
    bitmaps, frame, rng = scene
    xs, ys = (np.sort(rng.integers(0, len(index) + 1, (len(bitmaps), 2))) for index in (frame.columns, frame.rows))
    cuts = np.stack([xs[:, 0], ys[:, 0], xs[:, 1], ys[:, 1]], axis=1)
    shown = rng.integers(0, len(bitmaps), len(cuts))
    drawn = sample(cut_at_columns(runs_of(bitmaps)), frame, cuts, shown=shown)
    np.testing.assert_array_equal(drawn, cut(look(bitmaps[shown], frame), cuts))


def test_by_hand() -> None:
    """Rows doubled and upside down; the last column shows nothing, the first two are the source's 1 and 2."""
    masks = cut_at_columns(runs_of(BITMAPS))
    frame = Frame(rows=np.array([2, 2, 1, 1, 0, 0]), columns=np.array([1, 2, OUTSIDE]))
    mass = measure(masks, frame)
    assert mass.pixels.tolist() == [10, 0, 12]
    assert mass.x_sums.tolist() == [6, 0, 6]
    assert mass.y_sums.tolist() == [2 + 3 + 4 + 5 + 15, 0, 30]
    cuts = windows(masks, frame)
    assert cuts.tolist() == [[0, 0, 2, 6], [0, 0, 0, 0], [0, 0, 2, 6]]
    assert draw(masks, frame, cuts).astype(int).tolist() == [0, 0, 1, 1, 1, 1, *[1] * 6, *[1] * 12]


def test_a_frame_that_shows_nothing() -> None:
    masks = cut_at_columns(runs_of(BITMAPS))
    frame = Frame(rows=np.full(4, OUTSIDE), columns=np.array([1, 2]))
    assert not measure(masks, frame).pixels.any()
    assert not windows(masks, frame).any()
    assert not draw(masks, frame, np.array([[0, 0, 2, 4]] * 3)).any()


@pytest.mark.parametrize("masks", [[], [*runs_of(BITMAPS), *runs_of(BITMAPS[:, :2])]])
def test_masks_of_one_size_only(masks) -> None:
    with pytest.raises(ValueError, match="one size"):
        cut_at_columns(masks)
