"""Decoding that ends early: the detections are those of decoding everything, of fewer cells."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mmengine.structures import InstanceData
from torch import Tensor

from solo.models import Grid, MatrixNMS, SOLOv2PostProcessor
from solo.models.decoders import SOLOv2MaskDecoder
from solo.structures import SOLOv2Outputs

MASK_BYTES = 4 * 12 * 16


class DecodesAll(MatrixNMS):
    """The same suppression, not marked as monotone."""

    is_monotone = False


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
    """Detections with and without an early end, and how many cells were decoded with and without."""
    decode = SOLOv2MaskDecoder.decode
    decoded, results = [], []
    for nms in (MatrixNMS(), DecodesAll()):
        counts: list[int] = []

        def counting(self: SOLOv2MaskDecoder, image: int, cells: Tensor, counts: list[int] = counts) -> Tensor:
            counts.append(len(cells))
            return decode(self, image, cells)

        monkeypatch.setattr(SOLOv2MaskDecoder, "decode", counting)
        cells = outputs.cls_logits.shape[1]
        grid = Grid(num_grids=(1,) * cells, strides=(4,) * cells, scale_ranges=[(1, 9)] * cells)
        process = SOLOv2PostProcessor(grid=grid, nms=nms, chunk_bytes=8 * step * MASK_BYTES, **options)
        results += process(outputs, image_sizes=[(48, 64)], original_sizes=[(30, 41)])
        decoded.append(sum(counts))
    monkeypatch.setattr(SOLOv2MaskDecoder, "decode", decode)
    return results[0], results[1], decoded


@pytest.mark.parametrize("nms_pre", [30, 500])
@pytest.mark.parametrize("max_per_img", [0, 1, 10, 60, 500])
@pytest.mark.parametrize("seed", range(4))
def test_detections_of_an_early_end_are_the_same(
    seed: int, max_per_img: int, nms_pre: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = dict(max_per_img=max_per_img, nms_pre=nms_pre, score_thr=0.1)
    early, late, decoded = both_ways(random_crowd(seed), monkeypatch, **options)
    assert torch.equal(early.labels, late.labels)
    torch.testing.assert_close(early.scores, late.scores, rtol=1e-6, atol=0)
    assert (early.masks != late.masks).sum() <= 1
    assert decoded[0] < decoded[1] if 1 <= max_per_img <= 10 and nms_pre == 500 else decoded[0] <= decoded[1]


def test_suppressed_ones_do_not_end_the_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty times the same mask first: one detection, so that the others have to be looked for."""
    outputs = random_crowd(0)
    outputs.kernels[0, :50] = outputs.kernels[0, 0]
    outputs.cls_logits[0, :50] = -9
    outputs.cls_logits[0, :50, 1] = 4 + torch.arange(50) / 1000
    early, late, decoded = both_ways(outputs, monkeypatch, max_per_img=10)
    assert torch.equal(early.labels, late.labels)
    torch.testing.assert_close(early.scores, late.scores, rtol=1e-6, atol=0)
    assert 60 < decoded[0] < decoded[1]


def test_what_ended_the_decoding_is_not_suppressed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """One suppression is enough: it shows the detections, so no second one follows."""
    calls: list[int] = []

    class Counting(MatrixNMS):
        def __call__(self, masks: Tensor, labels: Tensor, scores: Tensor) -> Tensor:
            calls.append(len(masks))
            return super().__call__(masks, labels, scores)

    monkeypatch.setattr(f"{__name__}.MatrixNMS", Counting)
    both_ways(random_crowd(0), monkeypatch, max_per_img=1, step=100)
    assert len(calls) == 1
