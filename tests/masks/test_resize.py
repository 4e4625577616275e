"""resize_masks against the two interpolations of whole maps that it replaces."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from solo.masks import windows
from solo.masks.resize import resize_masks, resized_parts
from tests.helpers.mask_probabilities import SIZES, blobs

ROUNDING = 1e-4


def interpolated_twice(probabilities: Tensor, *, image_size: tuple[int, int], original_size: tuple[int, int]) -> Tensor:
    """As the reference implementations: bilinear x4, the padding cut off, bilinear to the original size."""
    padded_size = [4 * side for side in probabilities.shape[-2:]]
    enlarged = F.interpolate(probabilities.float()[None], size=padded_size, mode="bilinear", align_corners=False)
    enlarged = enlarged[..., : image_size[0], : image_size[1]]
    return F.interpolate(enlarged, size=original_size, mode="bilinear", align_corners=False)[0]


def assert_same_masks(
    probabilities: Tensor, *, image_size: tuple[int, int], original_size: tuple[int, int], threshold: float
) -> None:
    """Equal but for pixels within the rounding of the threshold, and those are few."""
    masks = resize_masks(probabilities, image_size=image_size, original_size=original_size, threshold=threshold)
    assert masks.dtype == torch.bool
    expected = interpolated_twice(probabilities, image_size=image_size, original_size=original_size)
    different = masks != (expected > threshold)
    assert not (different & ((expected - threshold).abs() > ROUNDING)).any()
    assert different.sum() <= 1 + masks.numel() // 10_000


@pytest.mark.parametrize(("image_size", "original_size"), SIZES)
@pytest.mark.parametrize("threshold", [0.0, 0.4, 0.5, 0.97])
def test_is_two_interpolations(
    image_size: tuple[int, int], original_size: tuple[int, int], threshold: float, generator: torch.Generator
) -> None:
    sizes = dict(image_size=image_size, original_size=original_size)
    assert_same_masks(torch.rand(5, 8, 16, generator=generator), **sizes, threshold=threshold)
    assert_same_masks(blobs(9, 8, 16, generator), **sizes, threshold=threshold)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 2), (2, 3), (5, 1)])
def test_maps_of_fewer_pixels_than_taps(height: int, width: int, generator: torch.Generator) -> None:
    sizes = dict(image_size=(4 * height - 1, 4 * width - 2), original_size=(23, 31))
    assert_same_masks(torch.rand(3, height, width, generator=generator), **sizes, threshold=0.5)


def test_full_size(generator: torch.Generator) -> None:
    sizes = dict(image_size=(800, 1067), original_size=(480, 640))
    assert_same_masks(blobs(6, 200, 268, generator), **sizes, threshold=0.5)
    assert_same_masks(torch.rand(2, 200, 268, generator=generator), **sizes, threshold=0.5)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data(), height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 99))
def test_any_sizes(data: st.DataObject, height: int, width: int, seed: int) -> None:
    image_size = (data.draw(st.integers(1, 4 * height)), data.draw(st.integers(1, 4 * width)))
    original_size = (data.draw(st.integers(1, 50)), data.draw(st.integers(1, 50)))
    probabilities = torch.rand(2, height, width, generator=torch.Generator().manual_seed(seed))
    assert_same_masks(probabilities, image_size=image_size, original_size=original_size, threshold=0.6)


def test_by_hand() -> None:
    """Between the centres of two stride-4 pixels, at 1.5 and 5.5, the probability falls from 1 to 0 in eighths."""
    masks = resize_masks(torch.tensor([[[1.0, 0.0]]]), image_size=(4, 8), original_size=(4, 8), threshold=0.5)
    assert masks[0].tolist() == [[True] * 4 + [False] * 4] * 4


@pytest.mark.parametrize(("threshold", "expected"), [(0.5, False), (0.4999, True)])
def test_a_pixel_at_the_threshold_is_background(threshold: float, expected: bool) -> None:
    masks = resize_masks(torch.full((1, 2, 2), 0.5), image_size=(8, 8), original_size=(3, 5), threshold=threshold)
    assert (masks == expected).all()


def test_padding_is_cut_off_before_the_second_resize() -> None:
    """The image is the left half of the padded input: its mask fills the image, and the padding never shows."""
    probabilities = torch.zeros(2, 4, 8)
    probabilities[0, :, :5] = 1
    probabilities[1, :, 5:] = 1
    masks = resize_masks(probabilities, image_size=(16, 16), original_size=(40, 40), threshold=0.5)
    assert masks[0].all()
    assert not masks[1].any()


def test_no_masks() -> None:
    masks = resize_masks(torch.zeros(0, 8, 8), image_size=(30, 30), original_size=(100, 90), threshold=0.5)
    assert masks.shape == (0, 100, 90)
    assert masks.dtype == torch.bool


def test_half_precision_as_single(generator: torch.Generator) -> None:
    probabilities = torch.rand(2, 8, 8, generator=generator).bfloat16()
    sizes = dict(image_size=(30, 31), original_size=(57, 44), threshold=0.5)
    assert torch.equal(resize_masks(probabilities, **sizes), resize_masks(probabilities.float(), **sizes))


@pytest.mark.parametrize("column_major", [False, True])
@pytest.mark.parametrize("band", [1, 70, 10**6])
def test_cutting_into_bands_changes_nothing(
    band: int, column_major: bool, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    probabilities = blobs(4, 12, 16, generator)
    sizes = dict(image_size=(47, 60), original_size=(33, 41), threshold=0.5)
    expected = resize_masks(probabilities, **sizes)
    monkeypatch.setattr(windows, "CPU_CHUNK_PIXELS", band)
    masks = torch.zeros_like(expected)
    for part in resized_parts(probabilities, **sizes, column_major=column_major):
        _, height, width = part.pixels.shape
        assert part.pixels.numel() <= max(band, height, width)
        masks[part.masks.start, part.top : part.top + height, part.left : part.left + width] = part.pixels[0] > 0.5
    assert torch.equal(masks, expected)


def test_work_is_done_in_windows() -> None:
    probabilities = torch.zeros(1, 50, 50)
    probabilities[0, 20:22, 30:33] = 1
    parts = resized_parts(
        probabilities, image_size=(200, 200), original_size=(200, 200), threshold=0.5, column_major=False
    )
    assert sum(part.pixels.numel() for part in parts) < 32 * 32


@pytest.mark.parametrize("group", [2, 5, 100])
def test_groups_of_masks_change_nothing(
    group: int, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    probabilities = blobs(8, 12, 16, generator)
    sizes = dict(image_size=(47, 60), original_size=(33, 41), threshold=0.5)
    expected = resize_masks(probabilities, **sizes)
    monkeypatch.setattr(windows, "masks_per_group", lambda pixels, device: group)
    assert torch.equal(resize_masks(probabilities, **sizes), expected)
