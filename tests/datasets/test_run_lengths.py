from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from solo.datasets.run_lengths import decode_counts, runs_of_bitmap, runs_of_counts


@st.composite
def bitmaps(draw: st.DrawFn) -> np.ndarray:
    count, height, width = draw(st.integers(1, 4)), draw(st.integers(1, 40)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    return (rng.random((count, height, width)) < draw(st.sampled_from([0.0, 0.01, 0.5, 0.99, 1.0]))).astype(np.uint8)


def encode(bitmap: np.ndarray) -> bytes:
    return coco_mask.encode(np.asfortranarray(bitmap))["counts"]


def draw(runs) -> np.ndarray:
    flat = np.zeros(runs.height * runs.width, np.uint8)
    for start, end in zip(runs.starts, runs.ends, strict=True):
        flat[start:end] += 1
    return flat.reshape(runs.width, runs.height).T


@given(masks=bitmaps())
def test_texts_of_pycocotools(masks: np.ndarray) -> None:
    _, height, width = masks.shape
    for mask, counts in zip(masks, decode_counts([encode(mask) for mask in masks]), strict=True):
        assert counts.sum() == height * width
        np.testing.assert_array_equal(draw(runs_of_counts(counts, height=height, width=width)), mask)


def test_numbers_of_any_length() -> None:
    """Runs of a large picture take up to six digits, and differences are negative too."""
    mask = np.zeros((2000, 3000), np.uint8)
    mask[5:7, 0], mask[:, 100:2900], mask[3, 2950] = 1, 1, 1
    (counts,) = decode_counts([encode(mask)])
    np.testing.assert_array_equal(draw(runs_of_counts(counts, height=2000, width=3000)), mask)


@given(masks=bitmaps(), top=st.integers(0, 3), left=st.integers(0, 3))
def test_parts_of_bitmaps(masks: np.ndarray, top: int, left: int) -> None:
    """The given part on background, at its place."""
    for mask in masks:
        whole = np.pad(mask, [(top, 2), (left, 1)])
        height, width = whole.shape
        runs = runs_of_bitmap(mask, top=top, left=left, height=height, width=width)
        np.testing.assert_array_equal(draw(runs), whole)
        assert (runs.ends > runs.starts).all()
        assert (runs.starts[1:] >= runs.ends[:-1]).all()


def test_no_text() -> None:
    assert decode_counts([]) == []
    assert [len(counts) for counts in decode_counts([b"", encode(np.ones((2, 2), np.uint8)), b""])] == [0, 2, 0]
    assert [len(counts) for counts in decode_counts([b""])] == [0]


@pytest.mark.parametrize(
    ("text", "message"),
    [(b"\x7f", "no digit"), (b" 1", "no digit"), (b"1Q", "inside a number"), (b"o" * 13 + b"1", "beyond every image")],
)
def test_malformed_text(text: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode_counts([b"11", text])


def test_runs_of_length_zero_are_dropped() -> None:
    runs = runs_of_counts(np.array([0, 2, 0, 1, 3, 0, 2]), height=4, width=2)
    assert runs.starts.tolist() == [0, 2]
    assert runs.ends.tolist() == [2, 3]


@pytest.mark.parametrize("counts", [[], [7], [9], [-1, 9], [4, -1, 5]])
def test_counts_of_another_size(counts: list[int]) -> None:
    with pytest.raises(ValueError, match="sum up to 4 x 2 pixels"):
        runs_of_counts(np.array(counts, np.int64), height=4, width=2)
