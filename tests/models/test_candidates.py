"""The selection of candidates against decoding every cell at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from solo.models.candidates import ScoredCandidates, select_candidates
from solo.ops import dynamic_conv
from solo.structures import Candidates

HEIGHT, WIDTH, CHANNELS = 6, 8, 4
MASK_BYTES = 4 * HEIGHT * WIDTH


def select(inputs: dict[str, Tensor], counts: list[int] | None = None, **options: Any) -> ScoredCandidates:
    """Select from the inputs; appends how many cells each call decodes to `counts`."""

    def decode(cells: Tensor) -> Tensor:
        if counts is not None:
            counts.append(len(cells))
        return dynamic_conv(inputs["mask_feats"], inputs["kernels"][cells]).sigmoid()

    return select_candidates(inputs["cell_scores"], decode, mask_size=(HEIGHT, WIDTH), **options)


def all_at_once(
    cell_scores: Tensor,
    kernels: Tensor,
    mask_feats: Tensor,
    *,
    min_areas: Tensor,
    score_thr: float,
    mask_thr: float,
    limit: int,
) -> tuple[Candidates, Tensor]:
    """The best candidates, and the mask probabilities (D, h, w) of each."""
    cells, labels = (cell_scores > score_thr).nonzero(as_tuple=True)
    probabilities = dynamic_conv(mask_feats, kernels[cells]).float().sigmoid()
    masks = probabilities > mask_thr
    areas = masks.sum(dim=(1, 2))
    maskness = torch.where(masks, probabilities, 0).sum(dim=(1, 2)) / areas.clamp(min=1)
    found = Candidates(
        scores=cell_scores[cells, labels] * maskness, labels=labels, cells=cells, rows=torch.arange(len(cells))
    )
    found = found.take(areas > min_areas[cells])
    found = found.take(found.scores.argsort(descending=True, stable=True)[:limit])
    return found, probabilities[found.rows]


def assert_same(result: ScoredCandidates, expected: Candidates, probabilities: Tensor) -> None:
    found = result.candidates
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-6, atol=0)
    assert torch.equal(found.cells, expected.cells)
    assert torch.equal(found.labels, expected.labels)
    assert torch.equal(result.masks[found.rows], probabilities > 0.5)
    torch.testing.assert_close(result.probabilities(found.cells), probabilities, rtol=0, atol=1e-6)


def random_inputs(seed: int, *, cells: int = 30, classes: int = 3, levels: int | None = None) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(cells, classes, generator=generator)
    if levels is not None:  # many equal scores
        scores = (scores * levels).round() / levels
    return dict(
        cell_scores=scores,
        kernels=torch.randn(cells, CHANNELS, generator=generator),
        mask_feats=torch.randn(CHANNELS, HEIGHT, WIDTH, generator=generator),
    )


@pytest.mark.parametrize("limit", [0, 1, 7, 40, 1000])
@pytest.mark.parametrize("cells_held", [1, 3, 16, 1000])
@pytest.mark.parametrize("seed", range(3))
def test_same_as_all_at_once(limit: int, cells_held: int, seed: int) -> None:
    inputs = random_inputs(seed)
    options: dict[str, Any] = dict(min_areas=torch.full((30,), 20.0), score_thr=0.2, mask_thr=0.5, limit=limit)
    result = select(inputs, **options, chunk_bytes=cells_held * MASK_BYTES)
    assert_same(result, *all_at_once(**inputs, **options))
    assert len(result.masks) <= 1.5 * limit + cells_held / 8 + 1


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    limit=st.integers(1, 30),
    cells_held=st.integers(1, 40),
    min_area=st.integers(0, HEIGHT * WIDTH),
    levels=st.integers(1, 20),
)
def test_any_order_and_step(seed: int, limit: int, cells_held: int, min_area: int, levels: int) -> None:
    """All maps are the same: scores tie wherever the class scores do, and cell and class decide."""
    inputs = random_inputs(seed, levels=levels)
    inputs["kernels"] = inputs["kernels"][:1].expand(30, CHANNELS)
    options: dict[str, Any] = dict(
        min_areas=torch.full((30,), float(min_area)), score_thr=0.2, mask_thr=0.5, limit=limit
    )
    result = select(inputs, **options, chunk_bytes=cells_held * MASK_BYTES)
    assert_same(result, *all_at_once(**inputs, **options))


def test_a_cell_is_decoded_once_for_all_its_classes() -> None:
    counts: list[int] = []
    inputs = random_inputs(0, cells=20, classes=9)
    inputs["cell_scores"][5:] = 0
    result = select(
        inputs, counts, min_areas=torch.zeros(20), score_thr=0.1, mask_thr=0.5, limit=500, chunk_bytes=2**20
    )
    assert sum(counts) == 5 < len(result.candidates.scores)


def test_cells_that_cannot_matter_are_not_decoded() -> None:
    """Masks are certain here, so that a score is the class score: after ten cells no other can come in."""
    counts: list[int] = []
    inputs = random_inputs(0, cells=400, classes=1)
    inputs["mask_feats"].fill_(1.0)
    inputs["kernels"].fill_(50.0)
    options: dict[str, Any] = dict(min_areas=torch.zeros(400), score_thr=0.1, mask_thr=0.5, limit=10)
    result = select(inputs, counts, **options, chunk_bytes=8 * 5 * MASK_BYTES)
    assert sum(counts) <= 15
    assert_same(result, *all_at_once(**inputs, **options))


def test_half_as_sure_masks_need_more_cells() -> None:
    """With a maskness near one half, cells down to half the score of the tenth have to be decoded, and no more."""
    counts: list[int] = []
    inputs = random_inputs(0, cells=400, classes=1)
    inputs["mask_feats"].fill_(1.0)
    inputs["kernels"].fill_(0.001)
    options: dict[str, Any] = dict(min_areas=torch.zeros(400), score_thr=0.0, mask_thr=0.5, limit=10)
    result = select(inputs, counts, **options, chunk_bytes=8 * 5 * MASK_BYTES)
    needed = int((inputs["cell_scores"] > 0.499 * inputs["cell_scores"].flatten().sort().values[-10]).sum())
    assert needed <= sum(counts) <= needed + 10
    assert_same(result, *all_at_once(**inputs, **options))


def test_a_better_class_beside_nan_still_counts() -> None:
    inputs = random_inputs(0, cells=2, classes=2)
    inputs["cell_scores"] = torch.tensor([[float("nan"), 0.8], [0.0, 0.3]])
    result = select(inputs, min_areas=torch.zeros(2), score_thr=0.1, mask_thr=0.0, limit=10, chunk_bytes=2**20)
    assert sorted(result.candidates.cells.tolist()) == [0, 1]


def test_no_candidate() -> None:
    inputs = random_inputs(0)
    result = select(inputs, min_areas=torch.zeros(30), score_thr=1.0, mask_thr=0.5, limit=10, chunk_bytes=2**20)
    assert len(result.candidates.scores) == 0
    assert result.candidates.labels.dtype == torch.int64
    nothing = result.probabilities(result.candidates.cells)
    assert nothing.shape == (0, HEIGHT, WIDTH)
