"""Post-processing of outputs that no well-trained network gives: nothing, everything, no numbers, half precision."""

from __future__ import annotations

import pytest
import torch

from solo.structures import SOLOv2Outputs
from tests.helpers.stripes import assert_contract, blank, detect, logit, put

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("original", [(1, 1), (16, 16), (3, 70)])
def test_nothing_found_looks_like_something_found(original: tuple[int, int]) -> None:
    empty, full = detect(blank(), original=original), detect(put(blank(), 0, 0, 0.9, channel=0), original=original)
    assert_contract(empty, original)
    assert (len(empty), len(full)) == (0, 1)
    for name in ("labels", "scores", "masks", "bboxes"):
        assert getattr(empty, name).dtype == getattr(full, name).dtype
        assert getattr(empty, name).shape[1:] == getattr(full, name).shape[1:]
    assert len(empty[empty.scores > 0.5]) == 0, "an empty result can be indexed"


def test_every_cell_of_every_class_is_a_candidate() -> None:
    outputs = blank(cells=20 * 20 + 1, classes=3)
    outputs.cls_logits.fill_(logit(0.9))
    outputs.kernels[..., 0] = 50
    result = detect(outputs, num_grids=(20, 1), strides=(2, 2))
    assert_contract(result, (16, 16))
    assert len(result) == 100
    assert set(result.labels[:3].tolist()) <= {0, 1, 2}


@pytest.mark.parametrize("field", ["cls_logits", "kernels", "mask_feats"])
@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
def test_outputs_that_are_not_finite_at_all(field: str, value: float, kernel: str) -> None:
    outputs = put(put(blank(), 0, 0, 0.9, channel=0), 4, 1, 0.6, channel=1)
    getattr(outputs, field).fill_(value)
    assert_contract(detect(outputs, min_area_factor=0.0, kernel=kernel), (16, 16))


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_kernel_that_is_not_finite_harms_no_other_cell(value: float) -> None:
    """Cell 1 overflowed: what cell 4 found of the same class stays as it is."""
    outputs = put(put(blank(), 1, 0, 0.95, channel=0), 4, 0, 0.6, channel=1)
    healthy = detect(put(blank(), 4, 0, 0.6, channel=1), min_area_factor=0.5)
    outputs.kernels[0, 1] = 0
    outputs.kernels[0, 1, 0] = value
    outputs.mask_feats[:, 0, 0] = 0  # 0 * inf is NaN, in a part of the mask
    outputs.mask_feats[:, 0, 2] = 1
    result = detect(outputs, min_area_factor=0.5)
    assert_contract(result, (16, 16))
    mine = (result.masks == healthy.masks[0]).flatten(1).all(dim=1)
    assert mine.sum() == 1
    if value == INF:  # its mask is disjoint, hence no suppression
        assert result.scores[mine].tolist() == pytest.approx(healthy.scores.tolist())


@pytest.mark.parametrize("value", [NAN, -INF])
def test_a_class_logit_that_is_not_finite_harms_no_other_cell(value: float) -> None:
    outputs = put(blank(), 4, 0, 0.6, channel=1)
    expected = detect(outputs, min_area_factor=0.5)
    outputs.cls_logits[0, 1, 0] = value
    outputs.kernels[0, 1, 0] = 50
    result = detect(outputs, min_area_factor=0.5)
    assert result.scores.tolist() == expected.scores.tolist()
    assert len(result) == 1


# ----------------------------------------------------------------------------------------------------- half precision
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
def test_half_precision_outputs(dtype: torch.dtype, kernel: str) -> None:
    outputs = put(put(blank(), 0, 0, 0.9, channel=0), 4, 1, 0.6, channel=1)
    expected = detect(outputs, min_area_factor=0.5, kernel=kernel)
    halves = SOLOv2Outputs(*(field.to(dtype) for field in outputs))
    for autocast in (False, True):
        with torch.autocast("cpu", dtype=dtype, enabled=autocast):
            result = detect(halves, min_area_factor=0.5, kernel=kernel)
        assert_contract(result, (16, 16))
        assert torch.equal(result.masks, expected.masks)
        assert result.scores.tolist() == pytest.approx(expected.scores.tolist(), abs=4e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [False, True])
def test_rounding_of_half_precision_moves_little(
    dtype: torch.dtype, autocast: bool, generator: torch.Generator
) -> None:
    """Ellipses whose kernels mix several channels: the same labels, scores within 2e-2, mask IoU above 0.98."""
    rows, columns = torch.linspace(0, 1, 48)[:, None], torch.linspace(0, 1, 64)
    centres = torch.rand(16, 2, 1, 1, generator=generator)
    distances = ((rows - centres[:, 0]) ** 2 + (columns - centres[:, 1]) ** 2) / 0.2**2
    outputs = SOLOv2Outputs(
        2 * torch.randn(1, 5, 3, generator=generator),
        torch.randn(1, 5, 16, generator=generator) * 0.2 + 4 * torch.eye(5, 16),
        (1 - distances)[None].clamp(min=-2),
    )
    expected = detect(outputs, score_thr=0.3)
    with torch.autocast("cpu", dtype=dtype, enabled=autocast):
        found = detect(outputs if autocast else SOLOv2Outputs(*(field.to(dtype) for field in outputs)), score_thr=0.3)
    assert len(expected) > 3
    assert torch.equal(found.labels, expected.labels)
    assert (found.scores - expected.scores).abs().max() < 2e-2
    common = (found.masks & expected.masks).sum(dim=(1, 2))
    assert (common / (found.masks | expected.masks).sum(dim=(1, 2))).min() > 0.98


def test_large_masks_under_autocast() -> None:
    """Stripes of 80,000 and 79,200 stride-4 pixels: float16 would overflow, and bfloat16 call them equal."""
    outputs = blank(cells=5, classes=1, channels=2, side=400)
    outputs.mask_feats[:, 1] = outputs.mask_feats[:, 0]
    outputs.mask_feats[:, 1, 198:] = -1
    put(put(outputs, 0, 0, 0.9, channel=0), 4, 0, 0.8, channel=1)
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype=dtype):
            result = detect(outputs, original=(16, 16), kernel="linear", filter_thr=0.0)
        assert result.scores.tolist() == pytest.approx([0.9, 0.8 * (1 - 0.99)], rel=1e-4)
