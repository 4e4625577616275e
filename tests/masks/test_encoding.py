"""Encodings against pycocotools, byte by byte."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as mask_api
from torch import Tensor

from solo.masks import windows
from solo.masks.bitmaps import boxes_from_masks
from solo.masks.encoding import encode_bitmaps, encode_resized
from solo.masks.resize import resize_masks
from tests.helpers.mask_probabilities import SIZES, blobs


def pycocotools_texts(masks: Tensor) -> list[str]:
    columns_first = np.asfortranarray(masks.numpy().astype(np.uint8).transpose(1, 2, 0))
    return [rle["counts"].decode() for rle in mask_api.encode(columns_first)]


def assert_encoded(masks: Tensor) -> None:
    encoded = encode_bitmaps(masks)
    assert [rle["counts"] for rle in encoded.rles] == pycocotools_texts(masks)
    assert all(rle["size"] == list(masks.shape[1:]) for rle in encoded.rles)
    assert torch.equal(encoded.boxes, boxes_from_masks(masks))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(hnp.arrays(bool, st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9))))
def test_any_masks(masks: np.ndarray) -> None:
    assert_encoded(torch.from_numpy(masks))


@pytest.mark.parametrize("share", [0.0, 1e-4, 0.01, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1), (300, 500)])
def test_noise(share: float, size: tuple[int, int], generator: torch.Generator) -> None:
    assert_encoded(torch.rand(3, *size, generator=generator) < share)


@pytest.mark.parametrize("name", ["all", "none", "first", "last", "first column", "last column", "rows", "columns"])
def test_special_masks(name: str) -> None:
    """Runs that start or end with the image, or go on from one column to the next."""
    mask = torch.zeros(1, 6, 5, dtype=torch.bool)
    index = {
        "all": (0,),
        "none": (0, slice(0)),
        "first": (0, 0, 0),
        "last": (0, -1, -1),
        "first column": (0, slice(None), 0),
        "last column": (0, slice(None), -1),
        "rows": (0, slice(1, None, 2)),
        "columns": (0, slice(None), slice(1, 4)),
    }[name]
    mask[index] = True
    assert_encoded(mask)
    assert_encoded(torch.cat([mask, ~mask, mask]))


def test_runs_of_every_length() -> None:
    """A run of up to 2**22 pixels needs five characters; differences of both signs occur."""
    generator = np.random.default_rng(0)
    lengths = np.concatenate([2 ** np.arange(21), 2 ** np.arange(20) - 1, generator.integers(1, 60_000, 40)])
    generator.shuffle(lengths)
    values = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    mask = torch.from_numpy(np.resize(values, (1, 2048, -(-len(values) // 2048))))
    assert_encoded(mask)


def test_a_very_large_mask() -> None:
    mask = torch.zeros(1, 7000, 9000, dtype=torch.bool)
    mask[0, 6000:, 8000:] = True
    assert_encoded(mask)


def test_layout_does_not_matter(generator: torch.Generator) -> None:
    masks = torch.rand(3, 8, 9, generator=generator) < 0.4
    assert_encoded(masks.transpose(1, 2))
    assert_encoded(masks[:, ::2, 1:])


@pytest.mark.parametrize("size", [(5, 6), (1, 1)])
def test_no_masks(size: tuple[int, int]) -> None:
    encoded = encode_bitmaps(torch.zeros(0, *size, dtype=torch.bool))
    assert encoded.rles == []
    assert encoded.boxes.shape == (0, 4)
    assert encoded.boxes.dtype == torch.float32


@pytest.mark.parametrize(("image_size", "original_size"), SIZES)
def test_resized_are_the_resized_masks(
    image_size: tuple[int, int], original_size: tuple[int, int], generator: torch.Generator
) -> None:
    for probabilities in (blobs(9, 8, 16, generator), torch.rand(3, 8, 16, generator=generator)):
        arguments = dict(image_size=image_size, original_size=original_size, threshold=0.5)
        masks = resize_masks(probabilities, **arguments)
        encoded = encode_resized(probabilities, **arguments)
        assert [rle["counts"] for rle in encoded.rles] == pycocotools_texts(masks)
        assert torch.equal(encoded.boxes, boxes_from_masks(masks))


@pytest.mark.parametrize("axes", [(-1,), (-2,), (-2, -1)])
@pytest.mark.parametrize("group", [1, 100])
def test_flipped_as_bitmaps_are(
    axes: tuple[int, ...], group: int, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "masks_per_group", lambda pixels, device: group)
    for probabilities in (blobs(9, 12, 16, generator), torch.rand(3, 12, 16, generator=generator)):
        arguments = dict(image_size=(45, 61), original_size=(70, 81), threshold=0.5)
        flipped = encode_resized(probabilities, **arguments, flipped_axes=axes)
        masks = resize_masks(probabilities, **arguments).flip(axes)
        assert [rle["counts"] for rle in flipped.rles] == pycocotools_texts(masks)
        assert torch.equal(flipped.boxes, boxes_from_masks(masks))


@pytest.mark.parametrize("group", [1, 2, 5, 100])
def test_groups_change_nothing(group: int, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "masks_per_group", lambda pixels, device: group)
    monkeypatch.setattr("solo.masks.windows.CPU_CHUNK_PIXELS", 500)
    probabilities = blobs(9, 12, 16, generator)
    arguments = dict(image_size=(48, 60), original_size=(70, 81), threshold=0.5)
    masks = resize_masks(probabilities, **arguments)
    assert_encoded(masks)
    encoded = encode_resized(probabilities, **arguments)
    assert [rle["counts"] for rle in encoded.rles] == pycocotools_texts(masks)
    assert torch.equal(encoded.boxes, boxes_from_masks(masks))
