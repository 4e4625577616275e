"""Exported graphs, run by torch: the same detections as the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from solo.errors import ExportError
from solo.export.graph import DetectionsGraph, RawGraph
from solo.models import SOLOv2
from solo.registry import TASK_UTILS
from solo.structures import SOLOv2Outputs
from tests.helpers.exported import check_detections, padded_images, reference
from tests.helpers.tiny_model import NUM_CLASSES, build_random, build_tiny, tiny_config, tiny_solo_config

MODELS: dict[str, Callable[[], dict[str, Any]]] = {
    "solov2": tiny_config,
    "3x3 kernels": lambda: tiny_config(kernel_size=3),
    "linear": lambda: tiny_config(postprocess=dict(nms=dict(type="MatrixNMS", kernel="linear"))),
    "few detections": lambda: tiny_config(postprocess=dict(max_per_img=5, filter_thr=0.2)),
    **{kind: lambda kind=kind: tiny_solo_config(kind) for kind in ("solo", "decoupled", "light")},
}
SIZES = ((64, 96), (50, 80))


@pytest.mark.parametrize("kind", MODELS)
@torch.no_grad()
def test_detections_are_those_of_the_model(kind: str) -> None:
    model = build_random(MODELS[kind]())
    graph = DetectionsGraph(model).eval()
    images = padded_images(graph, *SIZES)
    expected = reference(model, images, *SIZES)
    assert min(len(one.scores) for one in expected) >= 5
    for one, size, *outputs in zip(expected, SIZES, *graph(images), strict=True):
        check_detections(outputs, one, size=size)


@torch.no_grad()
def test_raw_outputs_are_those_of_the_model() -> None:
    model = build_tiny()
    graph = RawGraph(model).eval()
    images = padded_images(graph, *SIZES)
    inputs = model.data_preprocessor({"inputs": [images[0].flip(0), images[1].flip(0)[:, :50, :80]]})["inputs"]
    for found, expected in zip(graph(images), model.compute_outputs(inputs), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_padding_becomes_zero_and_bytes_are_normalised() -> None:
    model = build_tiny()
    graph = RawGraph(model)
    images = padded_images(graph, (20, 40))
    expected = model.data_preprocessor({"inputs": [images[0].flip(0)[:, :20, :40]]})["inputs"]
    assert torch.equal(graph.normalise(images), expected)


def graph_of(cls_logits: Tensor, kernels: Tensor, mask_feats: Tensor, **settings: Any) -> tuple[SOLOv2, list[Tensor]]:
    """A model whose network returns these, and the graph's detections in one image."""
    model = build_random(tiny_config(postprocess=settings))
    outputs = SOLOv2Outputs(cls_logits[None], kernels[None], mask_feats[None])
    model.compute_outputs = lambda inputs: outputs
    height, width = mask_feats.shape[1:]
    graph = DetectionsGraph(model).eval()
    found = graph(torch.zeros(1, 3, 4 * height, 4 * width, dtype=torch.uint8))
    return model, [output[0] for output in found]


def check_against_model(model: SOLOv2, outputs: list[Tensor]) -> int:
    """Compare with the model's post-processing of the same outputs; returns how many detections there are."""
    size = tuple(4 * side for side in outputs[3].shape[1:])
    expected = model.postprocess(model.compute_outputs(torch.zeros(0)), image_sizes=[size], original_sizes=[size])[0]
    check_detections(outputs, expected, size=size)
    return len(expected.scores)


def quarter_masks() -> tuple[Tensor, Tensor]:
    """Features (8, 16, 24) of four quarters of a map, and kernels (4, 8) of which each is large in one of them."""
    features = torch.zeros(8, 16, 24)
    for quarter, (rows, columns) in enumerate(((0, 0), (0, 12), (8, 0), (8, 12))):
        features[quarter, rows : rows + 8, columns : columns + 12] = 1
    features[4] = 1
    return features, 8 * torch.eye(8)[:4] - 4 * torch.eye(8)[4]


def test_exact_ties_keep_the_order_of_cells_and_classes() -> None:
    features, quarters = quarter_masks()
    cls_logits, kernels = torch.full((120, NUM_CLASSES), -9.0), torch.zeros(120, 8)
    for cell, quarter in ((3, 0), (17, 1), (40, 0), (66, 2), (90, 3), (118, 1)):
        cls_logits[cell] = torch.tensor([1.0, -9.0, 1.0])
        kernels[cell] = quarters[quarter]
    model, outputs = graph_of(cls_logits, kernels, features, max_per_img=7)
    assert check_against_model(model, outputs) == 7
    assert outputs[1].tolist() == [0, 2, 0, 2, 0, 2, 0]
    assert len(set(outputs[0].tolist())) == 1


def test_an_image_without_objects() -> None:
    features, _ = quarter_masks()
    model, outputs = graph_of(torch.full((120, NUM_CLASSES), -9.0), torch.ones(120, 8), features)
    assert check_against_model(model, outputs) == 0


def test_kernels_that_overflow_give_no_mask() -> None:
    features, quarters = quarter_masks()
    kernels = quarters[0].repeat(120, 1)
    cls_logits = torch.full((120, NUM_CLASSES), -9.0)
    cls_logits[[5, 50], 0] = 2.0
    kernels[50] = torch.nan
    model, outputs = graph_of(cls_logits, kernels, features)
    assert check_against_model(model, outputs) == 1


def test_small_masks_are_left_out() -> None:
    features, quarters = quarter_masks()
    cls_logits = torch.full((120, NUM_CLASSES), -9.0)
    cls_logits[[5, 118], 0] = 2.0  # at strides 8 and 32
    kernels = quarters[[0]].repeat(120, 1)  # 96 pixels
    model, outputs = graph_of(cls_logits, kernels, features, min_area_factor=4.0)
    assert check_against_model(model, outputs) == 1
    assert outputs[2][0].tolist() == [0.0, 0.0, 48.0, 32.0]


def test_more_outputs_than_cells_are_not_made() -> None:
    graph = DetectionsGraph(build_tiny(postprocess=dict(nms_pre=5000, max_per_img=900)))
    assert graph.max_detections == graph.num_candidates == 120 * NUM_CLASSES


def test_models_that_cannot_be_exported() -> None:
    with pytest.raises(ExportError, match="contract raw needs the dynamic kernels of SOLOv2, and SOLOHead has none"):
        RawGraph(build_random(tiny_solo_config("solo")))
    model = build_tiny()
    model.postprocess.nms = TASK_UTILS.build(dict(type="MatrixNMS")).__call__
    with pytest.raises(ExportError, match="contains SOLOv2PostProcessor with MatrixNMS, but the config has"):
        DetectionsGraph(model)
    model = build_tiny()
    model.data_preprocessor = torch.nn.Identity()
    with pytest.raises(ExportError, match="must be an ImagePreprocessor to be exported, got Identity"):
        DetectionsGraph(model)
