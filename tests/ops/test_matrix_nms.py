from __future__ import annotations

import math
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from solo.ops import mask_iou, matrix_nms
from solo.ops.matrix_nms import mask_intersections

KERNELS = ["gaussian", "linear"]


def bars(*spans: tuple[int, int], length: int = 12) -> Tensor:
    """Masks (D, 1, length) that are set from start to stop."""
    columns = torch.arange(length)
    return torch.stack([(columns >= start) & (columns < stop) for start, stop in spans])[:, None]


def iou_oracle(masks: Tensor) -> list[list[float]]:
    """Pair by pair, with Python sets of pixels."""
    pixels = [{tuple(pixel) for pixel in mask.nonzero().tolist()} for mask in masks]
    return [[len(a & b) / len(a | b) if a | b else 0.0 for b in pixels] for a in pixels]


def nms_oracle(masks: Tensor, labels: list[int], scores: list[float], kernel: str, sigma: float) -> list[float]:
    """The paper's formula, pair by pair."""
    iou = iou_oracle(masks)

    def decay_of(value: float) -> float:
        return math.exp(-sigma * value**2) if kernel == "gaussian" else 1 - value

    def better(row: int) -> list[int]:
        return [other for other in range(row) if labels[other] == labels[row]]

    decayed = []
    for row, score in enumerate(scores):
        factors = [1.0]
        for suppressor in better(row):
            own_suppression = max((iou[other][suppressor] for other in better(suppressor)), default=0.0)
            factors.append(decay_of(iou[suppressor][row]) / max(decay_of(own_suppression), 1e-7))
        decayed.append(score * min(factors))
    return decayed


def random_case(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Overlapping rectangles of three classes, a few of them twice."""
    corners = torch.randint(0, 8, (count, 2), generator=generator)
    sides = torch.randint(2, 9, (count, 2), generator=generator)
    rows, columns = torch.arange(16)[:, None], torch.arange(16)
    masks = torch.stack(
        [
            (rows >= y) & (rows < y + height) & (columns >= x) & (columns < x + width)
            for (x, y), (width, height) in zip(corners.tolist(), sides.tolist(), strict=True)
        ]
    )
    masks[count // 2] = masks[0]
    labels = torch.randint(0, 3, (count,), generator=generator)
    labels[count // 2] = labels[0]
    scores = torch.rand(count, generator=generator).sort(descending=True).values
    return masks, labels, scores


# --------------------------------------------------------------------------------------------------------- mask_iou
def test_iou_by_hand() -> None:
    iou = mask_iou(bars((0, 4), (2, 6), (0, 4), (8, 10), (5, 5)))
    expected = [
        [1, 1 / 3, 1, 0, 0],
        [1 / 3, 1, 1 / 3, 0, 0],
        [1, 1 / 3, 1, 0, 0],
        [0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0],
    ]
    assert iou.dtype == torch.float32
    torch.testing.assert_close(iou, torch.tensor(expected))


def test_iou_against_sets(generator: torch.Generator) -> None:
    masks = torch.rand(6, 5, 7, generator=generator) < 0.4
    torch.testing.assert_close(mask_iou(masks), torch.tensor(iou_oracle(masks)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("area", [257, 2_049, 65_521, 70_001])
def test_areas_are_counted_exactly_under_autocast(area: int, dtype: torch.dtype) -> None:
    """bfloat16 holds integers to 256, float16 to 2,048, and the latter ends at 65,504."""
    pixels = torch.arange(72_000)
    masks = torch.stack([pixels < area, pixels < area - 1, pixels < 1])[:, None]
    with torch.autocast("cpu", dtype=dtype):
        iou = mask_iou(masks)
    assert iou.dtype == torch.float32
    expected = torch.tensor([(area - 1) / area, 1 / area, 1 / (area - 1)])
    assert torch.equal(iou[[0, 0, 1], [1, 2, 2]], expected)
    assert iou.diagonal().tolist() == [1, 1, 1]


@pytest.mark.parametrize("shape", [(1, 5, 7), (2, 1, 1), (17, 13, 11), (300, 3, 50)])
def test_integers_and_floats_agree(
    shape: tuple[int, int, int], generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes are multiplied where oneDNN can, floats elsewhere."""
    masks = torch.rand(shape, generator=generator) < 0.5
    bytes_multiplied = mask_intersections(masks)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert torch.equal(mask_intersections(masks), bytes_multiplied)
    assert torch.equal(mask_intersections(masks.transpose(1, 2)), bytes_multiplied)


# ------------------------------------------------------------------------------------------------------- matrix_nms
@pytest.mark.parametrize(
    ("spans", "labels", "kernel", "factors"),
    [
        pytest.param([(0, 4)], [0], "gaussian", [1], id="alone"),
        pytest.param([(0, 4), (4, 8)], [0, 0], "gaussian", [1, 1], id="apart"),
        pytest.param([(0, 4), (0, 8)], [0, 0], "gaussian", [1, math.exp(-2 * 0.25)], id="half, gaussian"),
        pytest.param([(0, 4), (0, 8)], [0, 0], "linear", [1, 0.5], id="half, linear"),
        pytest.param([(0, 4), (0, 4)], [0, 0], "gaussian", [1, math.exp(-2)], id="twice, gaussian"),
        pytest.param([(0, 4), (0, 4)], [0, 0], "linear", [1, 0], id="twice, linear"),
        pytest.param([(0, 4), (0, 4)], [0, 1], "gaussian", [1, 1], id="twice, another class, gaussian"),
        pytest.param([(0, 4), (0, 4)], [0, 1], "linear", [1, 1], id="twice, another class, linear"),
        # The third overlaps only the second, which is itself suppressed by the first: 1/2 over 1/2.
        pytest.param(
            [(0, 4), (0, 8), (4, 8)], [0, 0, 0], "linear", [1, 0.5, 1], id="a suppressed one forgives, linear"
        ),
        pytest.param(
            [(0, 4), (0, 8), (4, 8)],
            [0, 0, 0],
            "gaussian",
            [1, math.exp(-0.5), 1],
            id="a suppressed one forgives, gaussian",
        ),
        pytest.param([(0, 4), (0, 8), (0, 4)], [0, 0, 0], "linear", [1, 0.5, 0], id="the worst suppressor counts"),
        pytest.param([(3, 3), (3, 3)], [0, 0], "linear", [1, 1], id="empty masks"),
    ],
)
def test_by_hand(spans: list[tuple[int, int]], labels: list[int], kernel: str, factors: list[float]) -> None:
    scores = torch.linspace(0.9, 0.5, len(spans))
    decayed = matrix_nms(bars(*spans), torch.tensor(labels), scores, kernel=kernel)
    torch.testing.assert_close(decayed, scores * torch.tensor(factors).float())


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("sigma", [0.5, 2.0])
def test_against_pairs(kernel: str, sigma: float, generator: torch.Generator) -> None:
    for count in (2, 7, 25):
        masks, labels, scores = random_case(count, generator)
        expected = nms_oracle(masks, labels.tolist(), scores.tolist(), kernel, sigma)
        decayed = matrix_nms(masks, labels, scores, kernel=kernel, sigma=sigma)
        torch.testing.assert_close(decayed, torch.tensor(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("copies", [2, 3, 20])
def test_exact_duplicates_are_no_nan(kernel: str, copies: int) -> None:
    masks = bars((0, 7)).expand(copies, 1, 12)
    decayed = matrix_nms(masks, torch.zeros(copies, dtype=torch.int64), torch.full((copies,), 0.5), kernel=kernel)
    assert decayed.isfinite().all()
    assert decayed[0] == 0.5
    expected = 0.0 if kernel == "linear" else 0.5 * math.exp(-2)
    assert decayed[1].item() == pytest.approx(expected)
    assert (decayed[1:] < 0.5).sum() >= 1


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_of_nothing(kernel: str, dtype: torch.dtype) -> None:
    decayed = matrix_nms(
        torch.zeros(0, 4, 4, dtype=torch.bool),
        torch.zeros(0, dtype=torch.int64),
        torch.zeros(0, dtype=dtype),
        kernel=kernel,
    )
    assert decayed.shape == (0,)
    assert decayed.dtype == dtype


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(kernel: str, dtype: torch.dtype) -> None:
    """Four masks of 66,000 to 67,500 pixels: more than float16 holds."""
    pixels = torch.arange(70_000)
    masks = torch.stack([pixels < area for area in (66_000, 66_500, 67_000, 67_500)])[:, None]
    labels, scores = torch.tensor([0, 0, 0, 1]), torch.tensor([0.9, 0.8, 0.7, 0.6])
    expected = matrix_nms(masks, labels, scores, kernel=kernel)
    with torch.autocast("cpu", dtype=dtype):
        decayed = matrix_nms(masks, labels, scores, kernel=kernel)
    assert decayed.dtype == torch.float32
    assert torch.equal(decayed, expected)


@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
def test_classes_that_are_compared_at_once_change_nothing(
    kernel: str, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks = torch.rand(60, 9, 11, generator=generator) > 0.4
    labels = torch.randint(12, (60,), generator=generator)
    scores = torch.rand(60, generator=generator).sort(descending=True).values
    decayed = []
    for size in (1, 7, 25, 60):
        monkeypatch.setattr(sys.modules["solo.ops.matrix_nms"], "BLOCK_MASKS", size)
        decayed.append(matrix_nms(masks, labels, scores, kernel=kernel))
    assert all(torch.equal(decayed[0], other) for other in decayed[1:])


def test_unknown_kernel() -> None:
    with pytest.raises(ValueError, match="'gaussian' or 'linear', not 'cosine'"):
        matrix_nms(bars((0, 1)), torch.tensor([0]), torch.tensor([0.5]), kernel="cosine")  # type: ignore[arg-type]


spans = st.tuples(st.integers(0, 11), st.integers(1, 12)).map(lambda span: (min(span), max(span)))
candidates = st.lists(st.tuples(spans, st.integers(0, 2), st.floats(0, 1, width=32)), min_size=1, max_size=8)


def unpack(rows: list[tuple[tuple[int, int], int, float]]) -> tuple[Tensor, Tensor, Tensor]:
    rows = sorted(rows, key=lambda row: -row[2])
    return (
        bars(*(row[0] for row in rows)),
        torch.tensor([row[1] for row in rows]),
        torch.tensor([row[2] for row in rows]),
    )


@pytest.mark.parametrize("kernel", KERNELS)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(rows=candidates)
def test_scores_never_rise_and_the_best_of_a_class_stays(
    kernel: str, rows: list[tuple[tuple[int, int], int, float]]
) -> None:
    masks, labels, scores = unpack(rows)
    decayed = matrix_nms(masks, labels, scores, kernel=kernel)
    assert decayed.isfinite().all()
    assert (decayed <= scores).all()
    assert (decayed >= 0).all()
    for label in labels.unique():
        first = (labels == label).nonzero()[0, 0]
        assert decayed[first] == scores[first]


@pytest.mark.parametrize("kernel", KERNELS)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(rows=candidates)
def test_each_class_is_as_if_alone(kernel: str, rows: list[tuple[tuple[int, int], int, float]]) -> None:
    masks, labels, scores = unpack(rows)
    decayed = matrix_nms(masks, labels, scores, kernel=kernel)
    for label in labels.unique():
        mine = labels == label
        alone = matrix_nms(masks[mine], labels[mine], scores[mine], kernel=kernel)
        torch.testing.assert_close(decayed[mine], alone)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(rows=candidates, worse=spans)
def test_a_worse_mask_changes_no_better_one(
    rows: list[tuple[tuple[int, int], int, float]], worse: tuple[int, int]
) -> None:
    masks, labels, scores = unpack(rows)
    decayed = matrix_nms(masks, labels, scores)
    more = matrix_nms(
        torch.cat([masks, bars(worse)]), torch.cat([labels, labels[:1]]), torch.cat([scores, scores[-1:]])
    )
    torch.testing.assert_close(more[:-1], decayed)
