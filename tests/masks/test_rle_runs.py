from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from pycocotools import mask as coco_mask

from solo.masks.rle import decode_counts, pair_counts, runs_from_counts
from tests.helpers.column_runs import bitmaps, rasterise


def encode(bitmap: np.ndarray) -> bytes:
    return coco_mask.encode(np.asfortranarray(bitmap))["counts"]


def counts_of(bitmap: np.ndarray) -> list[int]:
    pixels = bitmap.T.ravel()
    counts = np.diff([0, *(np.flatnonzero(np.diff(pixels)) + 1), len(pixels)]).tolist()
    return [0, *counts] if pixels[0] else counts


def paired(*counts: list[int]) -> list[list[int]]:
    return [value for of_mask in counts for value in (of_mask if len(of_mask) % 2 == 0 else [*of_mask, 0])]


@given(masks=bitmaps())
def test_texts_of_pycocotools(masks: np.ndarray) -> None:
    _, height, width = masks.shape
    counts = decode_counts([encode(mask) for mask in masks])
    assert counts.pairs.ravel().tolist() == paired(*map(counts_of, masks))
    np.testing.assert_array_equal(rasterise(runs_from_counts(counts, height=height, width=width)), masks)
    given_as_numbers = pair_counts([counts_of(mask) for mask in masks])
    np.testing.assert_array_equal(given_as_numbers.pairs, counts.pairs)
    np.testing.assert_array_equal(given_as_numbers.ends, counts.ends)


def test_numbers_of_any_length() -> None:
    """Runs of a large image take up to six digits, and differences are negative too."""
    mask = np.zeros((2000, 3000), np.uint8)
    mask[5:7, 0], mask[:, 100:2900], mask[3, 2950] = 1, 1, 1
    counts = decode_counts([encode(mask), encode(1 - mask)])
    np.testing.assert_array_equal(rasterise(runs_from_counts(counts, height=2000, width=3000)), [mask, 1 - mask])


def test_no_text() -> None:
    assert len(decode_counts([]).ends) == 0
    assert runs_from_counts(decode_counts([]), height=2, width=2).num_masks == 0
    assert decode_counts([b"", encode(np.ones((2, 2), np.uint8)), b""]).ends.tolist() == [0, 1, 1]
    assert decode_counts([b""]).ends.tolist() == [0]


@pytest.mark.parametrize(
    ("text", "message"),
    [(b"\x7f", "no digit"), (b" 1", "no digit"), (b"1Q", "inside a number"), (b"o" * 13 + b"1", "beyond every image")],
)
def test_malformed_text(text: bytes, message: str) -> None:
    for texts in ([b"11", text], [text, b"11"], [text]):
        with pytest.raises(ValueError, match=message):
            decode_counts(texts)


def test_runs_of_length_zero_are_dropped() -> None:
    """Here the last one would begin after the last pixel."""
    runs = runs_from_counts(pair_counts([[0, 2, 0, 1, 3, 0, 2], [8]]), height=4, width=2)
    assert (runs.mask.tolist(), runs.rows.tolist()) == ([0, 0], [[0, 2], [2, 3]])


@pytest.mark.parametrize("counts", [[], [7], [9], [-1, 9], [4, -1, 5]])
def test_counts_of_another_size(counts: list[int]) -> None:
    for masks in ([counts], [[8], counts], [counts, [8]]):
        with pytest.raises(ValueError, match="sum up to 4 x 2 pixels"):
            runs_from_counts(pair_counts(masks), height=4, width=2)
