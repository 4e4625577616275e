"""Rings along pixel edges: filled, they are the mask."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as mask_api

from solo.masks.outlines import Ring, trace_rings

MASKS = hnp.arrays(bool, st.tuples(st.integers(0, 9), st.integers(0, 9)))


def fill(ring: Ring, size: tuple[int, int]) -> np.ndarray:
    """Even-odd filling: each vertical side toggles the pixels to its right."""
    mask = np.zeros(size, bool)
    for (x, y), (_, other) in zip(ring.points, np.roll(ring.points, -1, axis=0), strict=True):
        mask[min(y, other) : max(y, other), x:] ^= True
    return mask


@given(MASKS)
def test_outer_rings_without_holes_are_the_mask(mask: np.ndarray) -> None:
    filled = np.zeros(mask.shape, np.int64)
    for ring in trace_rings(mask):
        inside = fill(ring, mask.shape)
        assert inside.any()
        filled += np.where(inside, -1 if ring.is_hole else 1, 0)
    np.testing.assert_array_equal(filled, mask)


@given(MASKS)
def test_sides_alternate_and_have_a_length(mask: np.ndarray) -> None:
    for ring in trace_rings(mask):
        sides = np.roll(ring.points, -1, axis=0) - ring.points
        assert (sides[0::2, 0] != 0).all()
        assert (sides[0::2, 1] == 0).all()
        assert (sides[1::2, 0] == 0).all()
        assert (sides[1::2, 1] != 0).all()


def test_a_square_with_a_hole() -> None:
    mask = np.zeros((6, 7), bool)
    mask[1:5, 2:6] = True
    mask[2, 3] = False
    outer, hole = trace_rings(mask)
    assert (outer.points.tolist(), outer.is_hole) == ([[2, 1], [6, 1], [6, 5], [2, 5]], False)
    assert (hole.points.tolist(), hole.is_hole) == ([[4, 2], [3, 2], [3, 3], [4, 3]], True)


def test_pixels_that_touch_at_a_corner_have_rings_of_their_own() -> None:
    assert len(trace_rings(np.eye(3, dtype=bool))) == 3
    assert len(trace_rings(np.eye(3, dtype=bool)[::-1])) == 3


def test_coco_fills_an_outer_ring_as_its_pixels() -> None:
    rows, columns = np.mgrid[:40, :60]
    mask = (rows - 20) ** 2 / 200 + (columns - 30) ** 2 / 500 < 1
    (ring,) = trace_rings(mask)
    filled = mask_api.decode(mask_api.frPyObjects([ring.points.astype(float).ravel().tolist()], 40, 60))[..., 0]
    np.testing.assert_array_equal(filled, mask)


@pytest.mark.parametrize("size", [(0, 0), (3, 4)])
def test_an_empty_mask_has_no_ring(size: tuple[int, int]) -> None:
    assert trace_rings(np.zeros(size, bool)) == []
