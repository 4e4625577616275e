"""Drawing that ends early: the detections are those of drawing everything, of fewer cells."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mmengine.structures import InstanceData
from torch import Tensor

from solo.masks.bitmaps import DrawnMasks, binarise_masks
from solo.models import Grid, MatrixNMS, SOLOv2PostProcessor
from solo.models import candidates as candidates_module
from solo.structures import SOLOv2Outputs


class DrawsAll(MatrixNMS):
    """The same suppression, which says nothing about what its scores depend on."""

    better_ones_decide = False


def random_crowd(seed: int, *, cells: int = 300, kinds: int = 40) -> SOLOv2Outputs:
    """Many candidates, of which several have nearly the same mask."""
    generator = torch.Generator().manual_seed(seed)
    kernels = torch.randn(kinds, 6, generator=generator)[torch.randint(kinds, (cells,), generator=generator)]
    kernels += 0.2 * torch.randn(cells, 6, generator=generator)
    cls_logits = 1.5 * torch.randn(1, cells, 3, generator=generator)
    return SOLOv2Outputs(cls_logits, 3 * kernels[None], torch.randn(1, 6, 12, 16, generator=generator))


def both_ways(
    outputs: SOLOv2Outputs, monkeypatch: pytest.MonkeyPatch, *, step: int = 20, **options: Any
) -> tuple[InstanceData, InstanceData, list[int]]:
    """Detections with and without an early end, and how many cells were drawn with and without."""
    monkeypatch.setattr(candidates_module, "CELLS_PER_STEP", step)
    drawn, results = [], []
    for nms in (MatrixNMS(), DrawsAll()):
        counts: list[int] = []

        def counting(probabilities: Tensor, *, threshold: float, counts: list[int] = counts) -> DrawnMasks:
            counts.append(len(probabilities))
            return binarise_masks(probabilities, threshold=threshold)

        monkeypatch.setattr(candidates_module, "binarise_masks", counting)
        cells = outputs.cls_logits.shape[1]
        grid = Grid(num_grids=(1,) * cells, strides=(4,) * cells, scale_ranges=[(1, 9)] * cells)
        process = SOLOv2PostProcessor(grid=grid, nms=nms, **options)
        results += process(outputs, image_sizes=[(48, 64)], original_sizes=[(30, 41)])
        drawn.append(sum(counts))
    return results[0], results[1], drawn


@pytest.mark.parametrize("nms_pre", [30, 500])
@pytest.mark.parametrize("max_per_img", [0, 1, 10, 60, 500])
@pytest.mark.parametrize("seed", range(4))
def test_detections_of_an_early_end_are_the_same(
    seed: int, max_per_img: int, nms_pre: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = dict(max_per_img=max_per_img, nms_pre=nms_pre, score_thr=0.1)
    early, late, drawn = both_ways(random_crowd(seed), monkeypatch, **options)
    assert torch.equal(early.labels, late.labels)
    torch.testing.assert_close(early.scores, late.scores, rtol=1e-6, atol=0)
    assert (early.masks != late.masks).sum() <= 1
    assert drawn[0] < drawn[1] if 1 <= max_per_img <= 10 and nms_pre == 500 else drawn[0] <= drawn[1]


def test_suppressed_ones_do_not_end_the_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty times the same mask first: one detection, so that the others have to be looked for."""
    outputs = random_crowd(0)
    outputs.kernels[0, :50] = outputs.kernels[0, 0]
    outputs.cls_logits[0, :50] = -9
    outputs.cls_logits[0, :50, 1] = 4 + torch.arange(50) / 1000
    early, late, drawn = both_ways(outputs, monkeypatch, max_per_img=10)
    assert torch.equal(early.labels, late.labels)
    torch.testing.assert_close(early.scores, late.scores, rtol=1e-6, atol=0)
    assert 60 < drawn[0] < drawn[1]


def test_what_ended_the_drawing_is_not_suppressed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """One look at all that is drawn is enough: it has the detections, so no second suppression follows it."""
    looks: list[int] = []

    class Counting(MatrixNMS):
        def __call__(self, masks: Tensor, labels: Tensor, scores: Tensor) -> Tensor:
            looks.append(len(masks))
            return super().__call__(masks, labels, scores)

    monkeypatch.setattr(f"{__name__}.MatrixNMS", Counting)
    both_ways(random_crowd(0), monkeypatch, max_per_img=1, step=100)
    assert len(looks) == 1
