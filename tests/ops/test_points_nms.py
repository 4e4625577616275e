from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from solo.ops import points_nms


def loop_oracle(scores: Tensor) -> Tensor:
    """A cell survives if none of itself, above, left, above-left is larger."""
    result = torch.zeros_like(scores)
    images, classes, side, _ = scores.shape
    for image in range(images):
        for label in range(classes):
            for y in range(side):
                for x in range(side):
                    window = scores[image, label, max(y - 1, 0) : y + 1, max(x - 1, 0) : x + 1]
                    if scores[image, label, y, x] >= window.max():
                        result[image, label, y, x] = scores[image, label, y, x]
    return result


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        pytest.param([[0.5]], [[0.5]], id="one cell"),
        pytest.param([[0.9, 0.8], [0.7, 0.6]], [[0.9, 0.0], [0.0, 0.0]], id="falling"),
        pytest.param([[0.6, 0.7], [0.8, 0.9]], [[0.6, 0.7], [0.8, 0.9]], id="rising: nothing looks ahead"),
        pytest.param([[0.5, 0.5], [0.5, 0.5]], [[0.5, 0.5], [0.5, 0.5]], id="equal neighbours survive"),
        pytest.param([[0.1, 0.9], [0.3, 0.2]], [[0.1, 0.9], [0.3, 0.0]], id="above right does not count"),
        pytest.param([[0.9, 0.0], [0.0, 0.8]], [[0.9, 0.0], [0.0, 0.0]], id="above left does"),
        pytest.param([[0.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]], id="nothing"),
    ],
)
def test_by_hand(scores: list[list[float]], expected: list[list[float]]) -> None:
    assert torch.equal(points_nms(torch.tensor([[scores]])), torch.tensor([[expected]]))


@pytest.mark.parametrize("side", [1, 2, 5, 8])
def test_against_loops(side: int, generator: torch.Generator) -> None:
    # Few distinct values, so that equal neighbours are common.
    scores = torch.randint(0, 6, (2, 3, side, side), generator=generator).float() / 5
    assert torch.equal(points_nms(scores), loop_oracle(scores))


def test_classes_and_images_are_independent() -> None:
    scores = torch.zeros(2, 2, 2, 2)
    scores[0, 0, 0, 0] = 0.9
    scores[0, 1, 1, 1] = 0.5
    scores[1, 0, 1, 1] = 0.4
    assert torch.equal(points_nms(scores), scores)


def test_input_is_left_alone(generator: torch.Generator) -> None:
    scores = torch.rand(1, 2, 4, 4, generator=generator)
    before = scores.clone()
    points_nms(scores)
    assert torch.equal(scores, before)


def test_nan_is_never_a_candidate() -> None:
    scores = torch.full((1, 1, 4, 4), 0.2)
    scores[0, 0, 0, 0] = float("nan")
    scores[0, 0, 3, 3] = 0.9
    kept = points_nms(scores)
    assert not kept[0, 0, 0, 0] > 0
    assert kept[0, 0, 3, 3] == scores[0, 0, 3, 3]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(values=st.lists(st.floats(0, 1, width=32), min_size=16, max_size=16))
def test_keeps_the_best_and_is_idempotent(values: list[float]) -> None:
    scores = torch.tensor(values).view(1, 1, 4, 4)
    kept = points_nms(scores)
    assert torch.equal((kept == scores) | (kept == 0), torch.ones_like(scores, dtype=torch.bool))
    assert kept.max() == scores.max()
    assert torch.equal(points_nms(kept), kept)
