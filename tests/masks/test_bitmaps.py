from __future__ import annotations

import itertools
import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from solo.masks.bitmaps import binarise_masks, boxes_from_masks
from tests.helpers.bitmaps import downsample_masks, mass_centers

NAN, INF = float("nan"), float("inf")


def bitmap_from(rows: list[str]) -> Tensor:
    """One mask from text, `#` is set: (1, H, W) bool."""
    return torch.tensor([[letter == "#" for letter in row] for row in rows])[None]


def random_masks(count: int, height: int, width: int, generator: torch.Generator, *, share: float = 0.5) -> Tensor:
    return torch.rand(count, height, width, generator=generator) < share


def mask_lists(sides: st.SearchStrategy[int]) -> st.SearchStrategy[Tensor]:
    """Masks (N, H, W) with sides from a strategy, N from 0 to 3."""
    shapes = st.tuples(st.integers(0, 3), sides, sides)
    return shapes.flatmap(
        lambda shape: st.lists(st.booleans(), min_size=math.prod(shape), max_size=math.prod(shape)).map(
            lambda bits: torch.tensor(bits, dtype=torch.bool).view(shape)
        )
    )


# ------------------------------------------------------------------------------------------------- downsample_masks
@pytest.mark.parametrize("centre", list(itertools.product([False, True], repeat=4)))
@pytest.mark.parametrize("rim", [False, True])
def test_two_of_the_four_middle_pixels_decide(centre: tuple[bool, ...], rim: bool) -> None:
    mask = torch.full((1, 4, 4), rim)
    mask[0, 1:3, 1:3] = torch.tensor(centre).view(2, 2)
    assert downsample_masks(mask).tolist() == [[[sum(centre) >= 2]]]


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (1, 1, [[False]]),
        (2, 2, [[False]]),
        (2, 3, [[True]]),
        (3, 3, [[True]]),
        (4, 4, [[True]]),
        (5, 4, [[True], [False]]),
        (6, 4, [[True], [True]]),
        (4, 6, [[True, True]]),
        (3, 9, [[True, True, False]]),
    ],
)
def test_full_masks_of_sides_that_four_does_not_divide(height: int, width: int, expected: list[list[bool]]) -> None:
    assert downsample_masks(torch.ones(1, height, width, dtype=torch.bool)).tolist() == [expected]


@pytest.mark.parametrize("stride", [4, 8, 16])
@pytest.mark.parametrize("size", list(itertools.product([1, 2, 3, 4, 5, 7, 8, 11, 32, 45], [1, 3, 4, 6, 9, 20, 33])))
def test_equals_opencv(size: tuple[int, int], stride: int, generator: torch.Generator) -> None:
    masks = random_masks(4, *size, generator=generator)
    height, width = (-(-side // stride) for side in size)
    shrunk = downsample_masks(masks, stride=stride)
    assert shrunk.shape == (4, height, width)
    assert shrunk.dtype == torch.bool
    for mask, ours in zip(masks.numpy(), shrunk.numpy(), strict=True):
        padded = np.zeros((height * stride, width * stride), dtype=np.uint8)
        padded[: size[0], : size[1]] = mask
        reference = cv2.resize(padded, (width, height), interpolation=cv2.INTER_LINEAR)
        assert np.array_equal(ours, reference.astype(bool))


def test_downsample_no_masks() -> None:
    assert downsample_masks(torch.zeros(0, 9, 4, dtype=torch.bool)).shape == (0, 3, 1)


def test_downsample_a_view(generator: torch.Generator) -> None:
    masks = random_masks(6, 12, 16, generator)
    assert torch.equal(
        downsample_masks(masks[::2].transpose(1, 2)), downsample_masks(masks[::2].transpose(1, 2).contiguous())
    )


@settings(max_examples=30, deadline=None, derandomize=True)
@given(masks=mask_lists(st.sampled_from([4, 8])))
def test_a_mask_and_its_complement_share_only_what_is_half_set(masks: Tensor) -> None:
    mask, complement = downsample_masks(masks), downsample_masks(~masks)
    assert (mask | complement).all()
    middle = masks.unfold(1, 4, 4).unfold(2, 4, 4)[..., 1:3, 1:3].sum(dim=(-1, -2))
    assert torch.equal(mask & complement, middle == 2)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(masks=mask_lists(st.integers(1, 9)))
def test_a_part_shrinks_to_a_part(masks: Tensor) -> None:
    part = masks.clone()
    part[:, ::2] = False
    assert not (downsample_masks(part) & ~downsample_masks(masks)).any()


# ----------------------------------------------------------------------------------------------------- mass_centers
@pytest.mark.parametrize(
    ("rows", "center"),
    [
        (["#"], [0, 0]),
        (["....", "..#.", "...."], [2, 1]),
        (["##", "##"], [0.5, 0.5]),
        (["#..", "#..", "###"], [0.6, 1.4]),
        (["#...#"], [2, 0]),
    ],
)
def test_mass_centers_by_hand(rows: list[str], center: list[float]) -> None:
    centers = mass_centers(bitmap_from(rows))
    assert centers.dtype == torch.float32
    assert centers.tolist() == [pytest.approx(center, rel=1e-7)]


def test_mass_center_of_an_empty_mask_is_nan() -> None:
    centers = mass_centers(torch.cat([bitmap_from(["..", ".."]), bitmap_from([".#", ".."])]))
    assert centers[0].isnan().all()
    assert centers[1].tolist() == [1, 0]


def test_mass_centers_of_no_mask() -> None:
    centers = mass_centers(torch.zeros(0, 5, 7, dtype=torch.bool))
    assert centers.shape == (0, 2)
    assert centers.dtype == torch.float32


@pytest.mark.parametrize("share", [0.3, 0.9, 1.0])
def test_mass_centers_do_not_round_large_sums(share: float, generator: torch.Generator) -> None:
    """Sums are integers, only the quotient is rounded: sums in float32 would drift with the number of pixels."""
    masks = random_masks(2, 701, 1203, generator, share=share)
    for mask, center in zip(masks.numpy(), mass_centers(masks).numpy(), strict=True):
        rows, columns = np.nonzero(mask)
        expected = [np.float32(int(axis.sum())) / np.float32(len(axis)) for axis in (columns, rows)]
        assert center.tolist() == expected


def test_mass_centers_of_a_view(generator: torch.Generator) -> None:
    masks = random_masks(4, 6, 5, generator)
    assert torch.equal(mass_centers(masks.transpose(1, 2)), mass_centers(masks).flip(1))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(masks=mask_lists(st.integers(1, 6)))
def test_mass_centers_against_numpy(masks: Tensor) -> None:
    for mask, center in zip(masks.numpy(), mass_centers(masks).tolist(), strict=True):
        rows, columns = np.nonzero(mask)
        if len(rows):
            assert center == pytest.approx([columns.mean(), rows.mean()], rel=1e-6)
        else:
            assert np.isnan(center).all()


# --------------------------------------------------------------------------------------------------- binarise_masks
def binarised_oracle(probabilities: Tensor, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """Masks, areas and maskness in three plain steps."""
    masks = probabilities > threshold
    inside = torch.where(masks, probabilities.float(), 0)
    areas = masks.sum(dim=(1, 2))
    return masks, areas, inside.sum(dim=(1, 2)) / areas.clamp(min=1)


def test_maskness_by_hand() -> None:
    probabilities = torch.tensor([[[0.9, 0.6], [0.2, 0.1]], [[1.0, 1.0], [1.0, 1.0]], [[0.3, 0.3], [0.3, 0.3]]])
    binarised = binarise_masks(probabilities, threshold=0.5)
    assert binarised.masks.flatten(1).int().tolist() == [[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]]
    assert binarised.areas.tolist() == [2, 4, 0]
    assert binarised.maskness.tolist() == pytest.approx([0.75, 1.0, 0.0])


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (700, 900)])  # the last is more than a CPU passes over at once
def test_binarise_against_three_steps(size: tuple[int, int], threshold: float, generator: torch.Generator) -> None:
    probabilities = torch.rand(3, *size, generator=generator)
    binarised = binarise_masks(probabilities, threshold=threshold)
    masks, areas, maskness = binarised_oracle(probabilities, threshold)
    assert torch.equal(binarised.masks, masks)
    assert torch.equal(binarised.areas, areas)
    torch.testing.assert_close(binarised.maskness, maskness, rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_maskness_of_a_large_mask_in_half_precision(dtype: torch.dtype) -> None:
    binarised = binarise_masks(torch.full((1, 300, 300), 0.75, dtype=dtype), threshold=0.5)
    assert binarised.maskness.dtype == torch.float32
    assert binarised.maskness.item() == pytest.approx(0.75)
    assert binarised.areas.tolist() == [90_000]


@pytest.mark.parametrize("outside", [NAN, 0.5, -INF])
def test_maskness_looks_inside_the_mask_only(outside: float) -> None:
    binarised = binarise_masks(torch.tensor([[[0.75, outside], [outside, 0.75]]]), threshold=0.5)
    assert binarised.maskness.tolist() == [0.75]
    assert binarised.areas.tolist() == [2]


@pytest.mark.parametrize("shape", [(0, 2, 2), (2, 0, 3)])
def test_binarise_nothing(shape: tuple[int, ...]) -> None:
    binarised = binarise_masks(torch.zeros(shape), threshold=0.5)
    assert binarised.masks.shape == shape
    assert binarised.areas.dtype == torch.int64
    assert binarised.maskness.tolist() == [0] * shape[0]


# ------------------------------------------------------------------------------------------------- boxes_from_masks
@pytest.mark.parametrize(
    ("rows", "box"),
    [
        (["#"], [0, 0, 1, 1]),
        (["...", "...", "..#"], [2, 2, 3, 3]),
        (["####", "####"], [0, 0, 4, 2]),
        ([".....", ".#.#.", "....."], [1, 1, 4, 2]),
        (["#...", "....", "...#"], [0, 0, 4, 3]),
        (["....", ".##.", "..#."], [1, 1, 3, 3]),
        (["..", ".."], [0, 0, 0, 0]),
    ],
)
def test_boxes_by_hand(rows: list[str], box: list[int]) -> None:
    boxes = boxes_from_masks(bitmap_from(rows))
    assert boxes.dtype == torch.float32
    assert boxes.tolist() == [box]


def test_boxes_of_nothing() -> None:
    boxes = boxes_from_masks(torch.zeros(0, 9, 4, dtype=torch.bool))
    assert boxes.shape == (0, 4)
    assert boxes.dtype == torch.float32


@settings(max_examples=40, deadline=None, derandomize=True)
@given(masks=mask_lists(st.integers(1, 7)))
def test_boxes_hold_every_pixel_and_are_tight(masks: Tensor) -> None:
    for mask, box in zip(masks, boxes_from_masks(masks).tolist(), strict=True):
        x1, y1, x2, y2 = (int(side) for side in box)
        inside = mask[y1:y2, x1:x2]
        assert inside.sum() == mask.sum()
        if mask.any():
            assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()
        else:
            assert (x1, y1, x2, y2) == (0, 0, 0, 0)


@pytest.mark.parametrize("stride", [0, 1, 3, -2])
def test_masks_are_shrunk_by_even_numbers(stride: int) -> None:
    with pytest.raises(ValueError, match=f"even number of pixels, at least 2, not by {stride}"):
        downsample_masks(torch.ones(1, 8, 8, dtype=torch.bool), stride=stride)
