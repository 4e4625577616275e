"""encode_masks against pycocotools' decoder."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as mask_api

from solo.evaluation import decode_masks, encode_bits, encode_masks
from solo.evaluation.rle import areas_of_masks
from solo.masks.mask_bits import pack_bits


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' decoder
@given(hnp.arrays(bool, st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9))))
def test_decodes_to_the_same_pixels(masks: np.ndarray) -> None:
    encoded = json.loads(json.dumps(encode_masks(torch.from_numpy(masks))))
    assert len(encoded) == len(masks)
    for mask, rle in zip(masks, encoded, strict=True):
        np.testing.assert_array_equal(mask_api.decode(rle), mask)


def test_layout_does_not_matter() -> None:
    masks = np.arange(3 * 4 * 5).reshape(3, 4, 5) % 3 == 0
    strided = torch.from_numpy(masks).permute(2, 1, 0).contiguous().permute(2, 1, 0)
    assert encode_masks(strided) == encode_masks(masks) == encode_masks(masks.astype(np.uint8))


def test_no_mask() -> None:
    assert encode_masks(torch.zeros(0, 5, 6, dtype=torch.bool)) == []


@pytest.mark.parametrize("masks", [np.zeros((4, 5), bool), np.zeros((1, 4, 5), np.float32)])
def test_wrong_input(masks: np.ndarray) -> None:
    with pytest.raises(ValueError, match="masks must"):
        encode_masks(masks)


def test_decoding_is_the_way_back(generator: torch.Generator) -> None:
    masks = torch.rand(3, 7, 5, generator=generator) < 0.5
    np.testing.assert_array_equal(decode_masks(encode_masks(masks), size=(7, 5)), masks.numpy())
    assert decode_masks([], size=(7, 5)).shape == (0, 7, 5)
    with pytest.raises(ValueError, match=r"\(7, 5\), expected \(5, 7\)"):
        decode_masks(encode_masks(masks), size=(5, 7))


@pytest.mark.parametrize("width", [1, 7, 8, 19])
def test_bits_are_encoded_as_their_bitmaps(
    width: int, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("solo.evaluation.rle.UNPACKED_PIXELS", 2 * 6 * width)  # two masks at once
    masks = torch.rand(5, 6, width, generator=generator) < 0.5
    assert encode_bits(pack_bits(masks), width=width) == encode_masks(masks)
    assert encode_bits(pack_bits(masks[:0]), width=width) == []
    with pytest.raises(ValueError, match="width"):
        encode_bits(pack_bits(masks), width=width + 8)


@pytest.mark.parametrize("count", [0, 1, 255, 256, 600])
def test_areas_of_any_number_of_masks(count: int) -> None:
    masks = np.arange(9).reshape(1, 1, 9) < (np.arange(count) % 10).reshape(-1, 1, 1)
    areas = areas_of_masks(encode_masks(masks))
    assert (areas.dtype, areas.tolist()) == (np.float64, [float(index % 10) for index in range(count)])
