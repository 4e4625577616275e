"""encode_resized_arrays against encode_resized, which does the same with tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from solo.masks import array_encoding
from solo.masks.array_encoding import encode_resized_arrays
from solo.masks.encoding import encode_resized
from solo.masks.rle import decode_masks
from tests.helpers.mask_probabilities import SIZES, blobs

Size = tuple[int, int]


def as_bytes(probabilities: torch.Tensor) -> np.ndarray:
    return (255 * probabilities).round().to(torch.uint8).numpy()


@pytest.mark.parametrize(("image_size", "original_size"), SIZES)
@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.5, 0.97])
def test_bytes_give_what_their_probabilities_give(
    image_size: Size, original_size: Size, threshold: float, generator: torch.Generator
) -> None:
    options = dict(image_size=image_size, original_size=original_size, threshold=threshold)
    for probabilities in (torch.rand(5, 8, 16, generator=generator), blobs(9, 8, 16, generator)):
        array = as_bytes(probabilities)
        found = encode_resized_arrays(array, **options)
        expected = encode_resized(torch.from_numpy(array).float() / 255, **options)
        masks, same = (decode_masks(encoded.rles, size=original_size) for encoded in (found, expected))
        assert (masks != same).sum() <= 1 + masks.size // 10_000  # where a sum of taps is the threshold itself
        if np.array_equal(masks, same):
            assert found.rles == expected.rles
            np.testing.assert_array_equal(found.boxes, expected.boxes.numpy())


@settings(max_examples=30, deadline=None, derandomize=True)
@given(data=st.data(), height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 99))
def test_probabilities_of_any_size(data: st.DataObject, height: int, width: int, seed: int) -> None:
    image_size = (data.draw(st.integers(1, 4 * height)), data.draw(st.integers(1, 4 * width)))
    original_size = (data.draw(st.integers(1, 50)), data.draw(st.integers(1, 50)))
    probabilities = torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))
    options = dict(image_size=image_size, original_size=original_size, threshold=0.6)
    found, expected = encode_resized_arrays(probabilities.numpy(), **options), encode_resized(probabilities, **options)
    assert found.rles == expected.rles
    np.testing.assert_array_equal(found.boxes, expected.boxes.numpy())


def test_no_masks_and_empty_masks() -> None:
    options = dict(image_size=(30, 30), original_size=(100, 90), threshold=0.5)
    assert encode_resized_arrays(np.zeros((0, 8, 8), np.uint8), **options).rles == []
    found = encode_resized_arrays(np.zeros((2, 8, 8), np.uint8), **options)
    assert not decode_masks(found.rles, size=(100, 90)).any()
    assert found.boxes.tolist() == [[0, 0, 0, 0]] * 2


def test_chunks_and_groups_change_nothing(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    array = as_bytes(blobs(4, 12, 16, generator))
    options = dict(image_size=(47, 60), original_size=(133, 141), threshold=0.5)
    expected = encode_resized_arrays(array, **options)
    monkeypatch.setattr(array_encoding, "CHUNK_PIXELS", 1)
    monkeypatch.setattr(array_encoding, "GROUP_MASKS", 3)
    found = encode_resized_arrays(array, **options)
    assert found.rles == expected.rles
    np.testing.assert_array_equal(found.boxes, expected.boxes)
