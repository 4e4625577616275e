"""Connected components of masks."""

from __future__ import annotations

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given

from solo.masks.components import keep_largest_component


def masks_of(*drawings: str) -> np.ndarray:
    """(D, h, w) bool from drawings of `#`."""
    return np.array([[[pixel == "#" for pixel in row] for row in drawing.split()] for drawing in drawings])


def kept(masks: np.ndarray) -> np.ndarray:
    result = masks.copy()
    keep_largest_component(result, threshold=0)
    return result


def test_the_largest_component_stays() -> None:
    found = kept(masks_of("##.#. ##.#. ....#", "##... ..#.. ....#"))
    np.testing.assert_array_equal(found, masks_of("##... ##... .....", "##... ..#.. ....."))  # corners connect


def test_of_equal_components_one_stays() -> None:
    assert kept(masks_of("#.# ... #.#")).sum() == 1


@pytest.mark.parametrize(("dtype", "scale"), [(np.float32, 1), (np.uint8, 255)])
def test_what_is_not_inside_keeps_its_probability(dtype: type, scale: int) -> None:
    probabilities = (scale * np.array([[[0.9, 0.6, 0.4, 0.8, 0.3]]])).astype(dtype)
    keep_largest_component(probabilities, threshold=0.5 * scale)
    expected = (scale * np.array([[[0.9, 0.6, 0.4, 0.0, 0.3]]])).astype(dtype)
    np.testing.assert_array_equal(probabilities, expected)


def test_masks_without_a_pixel_or_a_row_stay_as_they_are() -> None:
    for shape in ((0, 3, 3), (2, 3, 4), (2, 0, 4), (1, 3, 0)):
        assert not kept(np.zeros(shape, np.bool_)).any()


def flood(mask: np.ndarray) -> list[set[tuple[int, int]]]:
    """The components of a mask (h, w), flooded pixel by pixel."""
    left, components = {tuple(pixel) for pixel in np.argwhere(mask)}, []
    while left:
        component, border = set(), [next(iter(left))]
        while border:
            row, column = border.pop()
            if (row, column) in left:
                left.remove((row, column))
                component.add((row, column))
                border += [(row + down, column + right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
        components.append(component)
    return components


@given(arrays.arrays(np.bool_, (2, 6, 7)))
def test_it_equals_flooding(masks: np.ndarray) -> None:
    for mask, found in zip(masks, kept(masks), strict=True):
        components = flood(mask)
        pixels = {tuple(pixel) for pixel in np.argwhere(found)}
        assert pixels in [each for each in components if len(each) == max(map(len, components))] or not mask.any()
