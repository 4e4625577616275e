"""The numpy codec of RLEs against pycocotools."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as mask_api

from solo.masks.column_runs import runs_from_bitmaps
from solo.masks.rle import (
    RLE,
    decode_counts,
    decode_masks,
    decode_windows,
    encode_masks,
    encode_runs,
    pair_counts,
    rle_areas,
    runs_from_counts,
)
from tests.helpers.column_runs import bitmaps, rasterise

MASKS = hnp.arrays(bool, st.tuples(st.integers(0, 4), st.integers(1, 9), st.integers(1, 9)))


def pycocotools_texts(masks: np.ndarray) -> list[str]:
    encoded = mask_api.encode(np.asfortranarray(masks.astype(np.uint8).transpose(1, 2, 0)))
    return [rle["counts"].decode() for rle in encoded]


@given(MASKS)
def test_texts_and_pixels_and_areas_are_those_of_pycocotools(masks: np.ndarray) -> None:
    encoded = json.loads(json.dumps(encode_masks(masks)))
    assert [rle["counts"] for rle in encoded] == pycocotools_texts(masks)
    assert all(rle["size"] == list(masks.shape[1:]) for rle in encoded)
    np.testing.assert_array_equal(decode_masks(encoded, size=masks.shape[1:]), masks, strict=True)
    assert rle_areas(encoded).tolist() == [mask.sum() for mask in masks]


@given(MASKS)
def test_runs_are_encoded_as_their_bitmaps(masks: np.ndarray) -> None:
    runs = runs_from_bitmaps([(0, 0, mask) for mask in masks], height=masks.shape[1], width=masks.shape[2])
    assert encode_runs(runs) == encode_masks(masks)


def test_runs_of_every_length() -> None:
    generator = np.random.default_rng(0)
    lengths = np.concatenate([2 ** np.arange(21), generator.integers(1, 60_000, 40)])
    generator.shuffle(lengths)
    values = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    masks = np.resize(values, (1, 2048, -(-len(values) // 2048)))
    assert [rle["counts"] for rle in encode_masks(masks)] == pycocotools_texts(masks)
    np.testing.assert_array_equal(decode_masks(encode_masks(masks), size=masks.shape[1:]), masks)


def test_layout_does_not_matter() -> None:
    masks = np.arange(3 * 4 * 5).reshape(3, 4, 5) % 3 == 0
    strided = masks.transpose(2, 1, 0).copy().transpose(2, 1, 0)
    assert encode_masks(strided) == encode_masks(masks) == encode_masks(masks.astype(np.uint8))


def test_no_mask() -> None:
    assert encode_masks(np.zeros((0, 5, 6), bool)) == []
    assert decode_masks([], size=(7, 5)).shape == (0, 7, 5)
    assert rle_areas([]).shape == (0,)


@pytest.mark.parametrize("masks", [np.zeros((4, 5), bool), np.zeros((1, 4, 5), np.float32)])
def test_wrong_input(masks: np.ndarray) -> None:
    with pytest.raises(ValueError, match="masks must"):
        encode_masks(masks)


def test_texts_may_be_bytes() -> None:
    masks = np.arange(30).reshape(1, 5, 6) % 4 == 0
    rle = mask_api.encode(np.asfortranarray(masks[0].astype(np.uint8)))
    np.testing.assert_array_equal(decode_masks([rle], size=(5, 6)), masks)
    assert rle_areas([rle]).tolist() == [masks.sum()]


def test_a_window_holds_the_columns_of_its_object_alone() -> None:
    masks = np.zeros((2, 6, 9), bool)
    masks[0, 2:4, 3:5] = True
    (left, pixels), (_, empty) = decode_windows(encode_masks(masks), size=(6, 9))
    assert left == 3
    np.testing.assert_array_equal(pixels, masks[0, :, 3:5])
    assert empty.shape == (6, 0)


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        (RLE(size=[5, 7], counts="S1"), r"size \(5, 7\), expected \(7, 5\)"),
        (RLE(size=[7, 5], counts="S0"), "does not describe 7 x 5 pixels"),
        (RLE(size=[7, 5], counts="\x7f"), "no digit"),
    ],
)
def test_wrong_encoding(rle: RLE, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode_masks([rle], size=(7, 5))


@pytest.mark.parametrize("count", [1, 255, 256, 600])
def test_areas_of_any_number_of_masks(count: int) -> None:
    masks = np.arange(9).reshape(1, 1, 9) < (np.arange(count) % 10).reshape(-1, 1, 1)
    assert rle_areas(encode_masks(masks)).tolist() == [index % 10 for index in range(count)]


# -------------------------------------------------------------------------------------------- counts and column runs
def encode_text(bitmap: np.ndarray) -> bytes:
    return mask_api.encode(np.asfortranarray(bitmap))["counts"]


def counts_of(bitmap: np.ndarray) -> list[int]:
    pixels = bitmap.T.ravel()
    counts = np.diff([0, *(np.flatnonzero(np.diff(pixels)) + 1), len(pixels)]).tolist()
    return [0, *counts] if pixels[0] else counts


def paired(*counts: list[int]) -> list[list[int]]:
    return [value for of_mask in counts for value in (of_mask if len(of_mask) % 2 == 0 else [*of_mask, 0])]


@given(masks=bitmaps())
def test_texts_of_pycocotools(masks: np.ndarray) -> None:
    _, height, width = masks.shape
    counts = decode_counts([encode_text(mask) for mask in masks])
    assert counts.pairs.ravel().tolist() == paired(*map(counts_of, masks))
    np.testing.assert_array_equal(rasterise(runs_from_counts(counts, height=height, width=width)), masks)
    given_as_numbers = pair_counts([counts_of(mask) for mask in masks])
    np.testing.assert_array_equal(given_as_numbers.pairs, counts.pairs)
    np.testing.assert_array_equal(given_as_numbers.ends, counts.ends)


def test_numbers_of_any_length() -> None:
    """Runs of a large image take up to six digits, and differences are negative too."""
    mask = np.zeros((2000, 3000), np.uint8)
    mask[5:7, 0], mask[:, 100:2900], mask[3, 2950] = 1, 1, 1
    counts = decode_counts([encode_text(mask), encode_text(1 - mask)])
    np.testing.assert_array_equal(rasterise(runs_from_counts(counts, height=2000, width=3000)), [mask, 1 - mask])


def test_no_text() -> None:
    assert len(decode_counts([]).ends) == 0
    assert runs_from_counts(decode_counts([]), height=2, width=2).num_masks == 0
    assert decode_counts([b"", encode_text(np.ones((2, 2), np.uint8)), b""]).ends.tolist() == [0, 1, 1]
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
