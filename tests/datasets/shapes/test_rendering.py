"""What a rendered shape covers, by geometry: fractions of the square of its diameter."""

from __future__ import annotations

import math

import numpy as np
import pytest

from solo.datasets import SHAPES_CLASSES
from solo.datasets.shapes.rendering import _ramp, _render_alpha

DIAMETER = 100.0
# Of an ellipse with axes 1 and 0.55 to 1; of triangles with corners up to 0.35 rad from an equilateral one's; of
# rectangles with sides in a ratio of 0.45 to 1; of stars with five or six points and dents at 0.40 to 0.52.
SHARES = [
    (0.55 * math.pi / 4, math.pi / 4),
    (0.22, 3 * math.sqrt(3) / 16),
    (0.45 / (1 + 0.45**2), 0.5),
    (5 * 0.40 * math.sin(math.pi / 5) / 4, 6 * 0.52 * math.sin(math.pi / 6) / 4),
]


@pytest.mark.parametrize("label", range(len(SHAPES_CLASSES)), ids=SHAPES_CLASSES)
def test_covered_area(label: int) -> None:
    lowest, highest = SHARES[label]
    for seed in range(20):
        alpha = _render_alpha(np.random.default_rng(seed), label=label, diameter=DIAMETER, ring=False)
        assert lowest * 0.97 < alpha.sum() / DIAMETER**2 < highest * 1.03
        assert not alpha[[0, -1]].any() and not alpha[:, [0, -1]].any(), "the border stays free"


def test_a_ring_lacks_its_middle() -> None:
    """The hole is the outline at 0.40 to 0.55 of its size."""
    for seed in range(10):
        whole, ring = (
            _render_alpha(np.random.default_rng(seed), label=0, diameter=DIAMETER, ring=ring) for ring in (False, True)
        )
        assert 1 - 0.55**2 - 0.03 < ring.sum() / whole.sum() < 1 - 0.40**2 + 0.03
        assert ring[len(ring) // 2, len(ring) // 2] == 0


def test_a_ramp_rises_evenly_from_0_to_1() -> None:
    for seed in range(5):
        ramp = _ramp(np.random.default_rng(seed), 20, 30)
        assert (ramp.min(), ramp.max()) == (0, 1)
        for axis in (0, 1):
            steps = np.diff(ramp, axis=axis)
            np.testing.assert_allclose(steps, steps.mean(), atol=1e-6)
