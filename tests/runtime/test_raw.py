"""The numpy decoder of contract "raw" against the model's post-processing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from solo.masks.rle import decode_masks
from solo.models import Grid, MatrixNMS, SOLOv2PostProcessor
from solo.models.decoders import SOLOv2MaskDecoder
from solo.runtime import raw
from solo.runtime.metadata import PostprocessSettings
from solo.runtime.raw import decode_raw
from solo.structures import SOLOv2Outputs

SIZE = (48, 64)
GRIDS, STRIDES = (12, 8, 5), (8, 16, 32)


def outputs_of(
    seed: int, *, kinds: int = 30, kernel_size: int = 1, classes: int = 3, shift: float = 0.0
) -> SOLOv2Outputs:
    """Many candidates, of which several have nearly the same mask."""
    generator = torch.Generator().manual_seed(seed)
    cells, weights = sum(side**2 for side in GRIDS), 6 * kernel_size**2
    kernels = torch.randn(kinds, weights, generator=generator)[torch.randint(kinds, (cells,), generator=generator)]
    kernels += 0.2 * torch.randn(cells, weights, generator=generator)
    cls_logits = 1.5 * torch.randn(1, cells, classes, generator=generator) + shift
    return SOLOv2Outputs(cls_logits, 3 * kernels[None], torch.randn(1, 6, 12, 16, generator=generator))


def decode_both(outputs: SOLOv2Outputs, **changes: Any) -> tuple[raw.Detections, Any]:
    """What the decoder and the model's post-processing find, both with these settings changed."""
    values: dict[str, Any] = dict(
        score_thr=0.1, mask_thr=0.5, min_area_factor=0.25, nms_pre=500, filter_thr=0.05, max_detections=100
    )
    values |= {"nms_kernel": "gaussian", "nms_sigma": 2.0, **changes}
    found = decode_raw(
        *(field[0].numpy() for field in outputs),
        settings=PostprocessSettings(num_grids=GRIDS, strides=STRIDES, **values),
    )
    kernel, sigma = values.pop("nms_kernel"), values.pop("nms_sigma")
    process = SOLOv2PostProcessor(
        grid=Grid(num_grids=GRIDS, strides=STRIDES, scale_ranges=[(1, 9)] * 3),
        nms=MatrixNMS(kernel=kernel, sigma=sigma),
        max_per_img=values.pop("max_detections"),
        mask_format="rle",
        **values,
    )
    return found, process(outputs, image_sizes=[SIZE], original_sizes=[SIZE])[0]


def check_same(found: raw.Detections, expected: Any, outputs: SOLOv2Outputs) -> None:
    assert found.labels.tolist() == expected.labels.tolist()
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    assert found.probabilities.shape == (len(found.labels), 12, 16)
    masks = decode_masks(expected.masks, size=SIZE)
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(found.probabilities)[None], size=SIZE, mode="bilinear", align_corners=False
    )[0].numpy()
    assert not ((masks != (resized > 0.5)) & (abs(resized - 0.5) > 1e-3)).any()


@pytest.mark.parametrize("options", [{}, {"kernel_size": 3}, {"classes": 1}, {"kinds": 2}])
@pytest.mark.parametrize("seed", range(3))
def test_detections_are_those_of_the_model(seed: int, options: dict[str, Any]) -> None:
    outputs = outputs_of(seed, **options)
    found, expected = decode_both(outputs)
    assert len(found.labels) > 20
    check_same(found, expected, outputs)


@pytest.mark.parametrize(
    "changes",
    [
        {"nms_pre": 30},
        {"max_detections": 5},
        {"max_detections": 5, "nms_pre": 20},
        {"nms_kernel": "linear"},
        {"nms_sigma": 0.5},
        {"min_area_factor": 4.0},
        {"score_thr": 0.6, "filter_thr": 0.3},
        {"mask_thr": 0.7},
        {"filter_thr": 0.0, "max_detections": 1000},
    ],
)
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_every_setting_counts(changes: dict[str, Any], step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "STEP_BYTES", step * 4 * 12 * 16)
    outputs = outputs_of(5)
    found, expected = decode_both(outputs, **changes)
    assert found.labels.tolist() == expected.labels.tolist()
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)


def test_no_object() -> None:
    found, expected = decode_both(outputs_of(0, shift=-20.0))
    assert len(expected.labels) == len(found.labels) == 0
    assert found.probabilities.shape == (0, 12, 16)


def test_exact_ties_are_in_the_order_of_the_model() -> None:
    outputs = outputs_of(1)
    outputs.cls_logits[:] = outputs.cls_logits.round()
    outputs.kernels[:] = outputs.kernels[:, :1]
    found, expected = decode_both(outputs, filter_thr=0.0, nms_kernel="linear")
    assert found.labels.tolist() == expected.labels.tolist()
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)


def test_decoding_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "STEP_BYTES", 4 * 12 * 16)
    decoded: list[int] = []
    binarise = raw.binarise
    monkeypatch.setattr(raw, "binarise", lambda logits, thr: decoded.append(len(logits)) or binarise(logits, thr))
    outputs = outputs_of(2)
    found, expected = decode_both(outputs, max_detections=5)
    assert found.labels.tolist() == expected.labels.tolist()
    assert sum(decoded) < 0.5 * (outputs.cls_logits.sigmoid().amax(2) > 0.1).sum()


def test_overflow_is_outside_of_every_mask() -> None:
    outputs = outputs_of(3)
    outputs.kernels[0, 7] = torch.inf
    outputs.cls_logits[0, 7] = 9.0
    found, _ = decode_both(outputs)
    assert len(found.labels) and np.isfinite(found.scores).all()


def test_decoder_of_the_model_is_unchanged() -> None:
    """The probabilities are those of the model's decoder."""
    outputs = outputs_of(4)
    found, _ = decode_both(outputs, max_detections=3)
    all_masks = SOLOv2MaskDecoder(outputs).decode(0, torch.arange(outputs.cls_logits.shape[1])).numpy()
    for mask in found.probabilities:
        assert abs(all_masks - mask).max(axis=(1, 2)).min() < 1e-5
