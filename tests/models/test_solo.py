"""SOLO and Decoupled SOLO as whole models: wiring, assigner, criterion and post-processing are those of SOLOv2."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import BaseDataElement
from torch import Tensor

from solo.models import Grid, MatrixNMS, SOLOv2, SOLOv2PostProcessor
from solo.models.decoders import build_mask_decoder
from solo.registry import MODELS
from solo.structures import DecoupledSOLOOutputs, Outputs, SOLOOutputs, SOLOv2Outputs
from tests.helpers.counters import LiveBytes
from tests.helpers.postprocess_oracle import loop_oracle
from tests.helpers.tiny_model import (
    NUM_CLASSES,
    TINY_HEADS,
    build_random,
    prediction_sample,
    rectangles,
    tiny_solo_config,
    training_sample,
)

SIZE = (64, 96)
NUM_CELLS = 120


def images(count: int, *, size: tuple[int, int] = SIZE) -> Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))


def objects_of(image: int) -> BaseDataElement:
    """Objects on every level; two of them share a cell."""
    if image % 2:
        return training_sample(rectangles(SIZE, (50, 20, 80, 60)), [1])
    boxes = (4, 4, 20, 24), (2, 2, 94, 62), (5, 5, 19, 23), (30, 8, 80, 56)
    return training_sample(rectangles(SIZE, *boxes), [0, 2, 1, 1])


def no_objects() -> BaseDataElement:
    return training_sample(rectangles(SIZE), [])


def gradients(model: SOLOv2, samples: list[BaseDataElement]) -> dict[str, Tensor | None]:
    model.zero_grad(set_to_none=True)
    sum(model(images(len(samples)), samples, mode="loss").values()).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("kind", TINY_HEADS)
def test_outputs(kind: str) -> None:
    model = build_random(tiny_solo_config(kind))
    outputs = model(images(2))
    assert isinstance(outputs, SOLOOutputs if kind == "solo" else DecoupledSOLOOutputs)
    assert outputs.cls_logits.shape == (2, NUM_CELLS, NUM_CLASSES)
    assert outputs.mask_strides == (4, 4, 8, 16)
    assert not [name for name in model.state_dict() if name.startswith("mask_feature")]


@pytest.mark.parametrize("kind", TINY_HEADS)
@pytest.mark.parametrize("samples", ["objects", "objects and none", "none"])
def test_every_parameter_gets_a_gradient(kind: str, samples: str) -> None:
    model = build_random(tiny_solo_config(kind)).train()
    batch = {
        "objects": [objects_of(0), objects_of(1)],
        "objects and none": [no_objects(), objects_of(1)],
        "none": [no_objects(), no_objects()],
    }[samples]
    for name, gradient in gradients(model, batch).items():
        assert gradient is not None, name
        assert gradient.isfinite().all(), name
        if samples == "none" and "mask_" in name:
            assert gradient.abs().sum() == 0, name
        elif samples == "objects" and gradient.ndim == 4:
            assert gradient.abs().sum() > 0, name


@pytest.mark.parametrize("kind", TINY_HEADS)
def test_a_step_learns(kind: str) -> None:
    model = build_random(tiny_solo_config(kind)).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    totals = []
    for _ in range(12):
        optimizer.zero_grad()
        total = sum(model(images(2), [objects_of(0), objects_of(1)], mode="loss").values())
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10)
        optimizer.step()
        totals.append(float(total.detach()))
    assert totals[-1] < 0.9 * totals[0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", TINY_HEADS)
def test_autocast(kind: str, dtype: torch.dtype) -> None:
    model = build_random(tiny_solo_config(kind))
    with torch.no_grad():
        full = model(images(2), [objects_of(0), objects_of(1)], mode="loss")
    with torch.autocast("cpu", dtype=dtype):
        losses = model(images(2), [objects_of(0), objects_of(1)], mode="loss")
        sum(losses.values()).backward()
        with torch.no_grad():
            model(images(1), [prediction_sample(SIZE)], mode="predict")
    for name, loss in losses.items():
        assert loss.dtype == torch.float32
        assert float(loss.detach()) == pytest.approx(float(full[name]), rel=0.1)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("kind", TINY_HEADS)
def test_all_weights_in_bfloat16(kind: str) -> None:
    model = build_random(tiny_solo_config(kind)).bfloat16()
    losses = model(images(1).bfloat16(), [objects_of(0)], mode="loss")
    sum(losses.values()).backward()
    with torch.no_grad():
        model(images(1).bfloat16(), [prediction_sample(SIZE)], mode="predict")


@pytest.mark.parametrize("size", [(1, 1), (33, 1), (31, 65)])
@pytest.mark.parametrize("kind", TINY_HEADS)
def test_any_size_trains_and_predicts(kind: str, size: tuple[int, int]) -> None:
    model = build_random(tiny_solo_config(kind))
    losses = model(images(1, size=size), [training_sample(rectangles(size, (0, 0, 1, 1)), [2])], mode="loss")
    assert all(loss.isfinite() for loss in losses.values())
    with torch.no_grad():
        (sample,) = model(images(1, size=size), [prediction_sample(size, (5, 9))], mode="predict")
    assert sample.pred_instances.masks.shape[1:] == (5, 9)


@torch.no_grad()
def as_solov2(outputs: Outputs, image: int) -> SOLOv2Outputs:
    """An image's outputs with a mask feature for each cell, the logits of its mask, and one-hot kernels."""
    masks = build_mask_decoder(outputs).decode(image, torch.arange(NUM_CELLS)).double().clamp(1e-12, 1 - 1e-7)
    return SOLOv2Outputs(outputs.cls_logits[image][None], torch.eye(NUM_CELLS)[None], masks.logit().float()[None])


@pytest.mark.parametrize("kind", TINY_HEADS)
def test_detections_against_loops(kind: str) -> None:
    model = build_random(tiny_solo_config(kind))
    with torch.no_grad():
        outputs = model(images(1))
        (sample,) = model(images(1), [prediction_sample(SIZE, (50, 70))], mode="predict")
    grid, settings = model.assigner.grid, model.postprocess
    expected = loop_oracle(
        as_solov2(outputs, 0),
        0,
        num_grids=grid.num_grids,
        strides=grid.strides,
        original=(50, 70),
        **{
            name: getattr(settings, name)
            for name in ("score_thr", "mask_thr", "nms_pre", "filter_thr", "max_per_img", "min_area_factor")
        },
    )
    found = sample.pred_instances
    assert len(found) == len(expected) > 5
    for row, (score, label, mask) in enumerate(expected):
        assert float(found.scores[row]) == pytest.approx(score, abs=1e-4)
        assert int(found.labels[row]) == label
        assert int((found.masks[row] != mask).sum()) <= 2


def test_a_shared_cell_is_trained_with_the_mask_of_its_label() -> None:
    model = build_random(tiny_solo_config("solo"))
    truth = [model._ground_truth(objects_of(0).gt_instances)]
    targets = model.assigner(truth, (16, 24))
    assert len(targets.cell_idx) == int(targets.num_cells)
    winners = targets.labels[0, targets.cell_idx]
    assert np.array_equal(winners, truth[0].labels[targets.object_idx])
    model.assigner.shared_cell_masks = "all"
    assert len(model.assigner(truth, (16, 24)).cell_idx) > len(targets.cell_idx)


def test_samples_without_the_coarse_masks() -> None:
    model = build_random(tiny_solo_config("solo"))
    sample = objects_of(0)
    del sample.gt_instances.masks_8
    with pytest.raises(ValueError, match=r"no masks at strides \[8\].*type='PackSample', coarse_strides=\[8, 16\]"):
        model(images(1), [sample], mode="loss")


def test_one_class_under_two_names() -> None:
    assert MODELS.get("SOLO") is MODELS.get("SOLOv2") is SOLOv2


FULL = Grid(num_grids=(40, 36, 24, 16, 12), strides=(8, 8, 16, 32, 32), scale_ranges=[(1, 9)] * 5)


def crowd(kind: str, *, height: int, width: int, generator: torch.Generator) -> Outputs:
    """An image in which every cell is a candidate with a mask of some pixels."""

    def sample(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    def sample_smooth(channels: int, size: tuple[int, int]) -> Tensor:
        return 3 * F.interpolate(sample(1, channels, 4, 5), size, mode="bilinear")

    cls_logits = torch.full((1, FULL.num_cells, 2), -9.0)
    cls_logits[0, :, 0] = torch.linspace(-2, 2, FULL.num_cells)
    sizes = [(height // stride, width // stride) for stride in FULL.strides]
    strides = tuple(stride // 2 for stride in FULL.strides)
    if kind == "solo":
        kernels = tuple(sample(cells, 4) for cells in FULL.level_sizes)
        biases = tuple(torch.zeros(cells) for cells in FULL.level_sizes)
        return SOLOOutputs(cls_logits, tuple(sample_smooth(4, size) for size in sizes), kernels, biases, strides)
    x_logits, y_logits = (
        tuple(1 + sample_smooth(side, (2 * h, 2 * w)) for side, (h, w) in zip(FULL.num_grids, sizes, strict=True))
        for _ in "xy"
    )
    return DecoupledSOLOOutputs(cls_logits, x_logits, y_logits, strides)


@pytest.mark.parametrize("kind", ["solo", "decoupled"])
def test_the_masks_of_all_cells_are_never_there_at_once(kind: str, generator: torch.Generator) -> None:
    """At 512x640, 3,872 candidates: their masks at stride 4 would be 317 MB, in mmdetection several times over."""
    height, width = 512, 640
    outputs = crowd(kind, height=height, width=width, generator=generator)
    options: dict[str, Any] = dict(nms_pre=100, max_per_img=20, mask_format="rle", chunk_bytes=2**24)
    processor = SOLOv2PostProcessor(grid=FULL, nms=MatrixNMS(), **options)
    assert int((processor.cell_scores(outputs.cls_logits) > processor.score_thr).sum()) > 3500
    with LiveBytes() as alive:
        (result,) = processor(outputs, image_sizes=[(height, width)], original_sizes=[(height, width)])
    assert len(result) == 20
    pixels = height * width // 16
    documented = 1.25 * 2**24 + (3 * 100 + 9 * 20) * pixels
    assert alive.peak < documented + 20 * outputs.cls_logits.nbytes
    assert alive.peak < 0.15 * 4 * FULL.num_cells * pixels
