"""The numpy codec of RLEs against pycocotools."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as mask_api

from solo.masks.rle import RLE, decode_masks, decode_windows, encode_masks, rle_areas

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
