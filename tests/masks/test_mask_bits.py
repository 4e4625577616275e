"""Packed masks against numpy's packing, and their boxes against those of the bitmaps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from solo.masks.bitmaps import boxes_from_masks
from solo.masks.mask_bits import boxes_from_bits, pack_bits, resize_to_bits, unpack_bits
from solo.masks.resize import resize_masks
from tests.helpers.counters import LiveBytes
from tests.masks.test_resize import SIZES, blobs


@settings(max_examples=150, deadline=None, derandomize=True)
@given(hnp.arrays(bool, st.tuples(st.integers(0, 4), st.integers(1, 9), st.integers(1, 27))))
def test_any_masks(masks: np.ndarray) -> None:
    bits = pack_bits(torch.from_numpy(masks))
    np.testing.assert_array_equal(bits.numpy(), np.packbits(masks, axis=-1), strict=True)
    np.testing.assert_array_equal(unpack_bits(bits, width=masks.shape[-1]).numpy(), masks, strict=True)
    assert torch.equal(boxes_from_bits(bits, width=masks.shape[-1]), boxes_from_masks(torch.from_numpy(masks)))


def test_order_of_the_bits() -> None:
    mask = torch.zeros(1, 10, dtype=torch.bool)
    mask[0, [0, 6, 9]] = True
    assert pack_bits(mask).tolist() == [[0b10000010, 0b01000000]]


def test_views_are_packed_as_they_read(generator: torch.Generator) -> None:
    masks = torch.rand(3, 16, 24, generator=generator) < 0.5
    np.testing.assert_array_equal(pack_bits(masks.mT).numpy(), np.packbits(masks.mT.numpy(), axis=-1))
    np.testing.assert_array_equal(pack_bits(masks[..., 3:19]).numpy(), np.packbits(masks[..., 3:19].numpy(), axis=-1))


@pytest.mark.parametrize(("image_size", "original_size"), SIZES)
@pytest.mark.parametrize("band_pixels", [1, 300, 2**15])
def test_equal_to_packed_bitmaps(
    image_size: tuple[int, int],
    original_size: tuple[int, int],
    band_pixels: int,
    generator: torch.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("solo.masks.windows.BAND_PIXELS", band_pixels)
    source = tuple(-(-side // 4) for side in image_size)
    probabilities = blobs(5, *source, generator)
    options = dict(image_size=image_size, original_size=original_size, threshold=0.5)
    masks, packed = resize_masks(probabilities, **options), resize_to_bits(probabilities, **options)
    np.testing.assert_array_equal(packed.bits.numpy(), np.packbits(masks.numpy(), axis=-1), strict=True)
    assert torch.equal(packed.boxes, boxes_from_masks(masks))


def test_no_mask_and_no_pixel() -> None:
    options = dict(image_size=(32, 64), original_size=(20, 30), threshold=0.5)
    none = resize_to_bits(torch.zeros(0, 8, 16), **options)
    assert (none.bits.shape, none.bits.dtype, none.boxes.shape) == ((0, 20, 4), torch.uint8, (0, 4))
    empty = resize_to_bits(torch.zeros(2, 8, 16), **options)
    assert not empty.bits.any()
    assert not empty.boxes.any()


def test_memory_is_that_of_the_bits(generator: torch.Generator) -> None:
    """Thirty masks of 1600x2400: 115 MB as bitmaps, 14 MB as bits."""
    probabilities = blobs(30, 100, 150, generator)
    with LiveBytes() as alive:
        packed = resize_to_bits(probabilities, image_size=(400, 600), original_size=(1600, 2400), threshold=0.5)
    assert packed.bits.nbytes == 30 * 1600 * 300
    assert alive.peak < 2.5 * packed.bits.nbytes + 5e6


def test_wrong_input() -> None:
    with pytest.raises(ValueError, match=r"bool, got torch\.uint8"):
        pack_bits(torch.zeros(1, 8, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"width 17 must be uint8 \(\.\.\., 3\), got torch\.uint8 \(1, 2\)"):
        unpack_bits(torch.zeros(1, 2, dtype=torch.uint8), width=17)
    with pytest.raises(ValueError, match=r"got torch\.bool"):
        unpack_bits(torch.zeros(1, 2, dtype=torch.bool), width=16)
