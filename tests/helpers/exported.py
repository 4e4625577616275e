"""Images and reference results for exported graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData
from torch import Tensor
from torch.export import ExportedProgram
from torch.torch_version import TorchVersion

from solo.export.graph import ExportedGraph
from solo.export.tracing import OLDEST_TESTED_TORCH
from solo.masks.resize import resize_masks
from solo.models import SOLOv2
from tests.helpers.tiny_model import build_random

NEAR_THRESHOLD = 2e-3
"""Masks of 8 bits may differ from the model's where its probability is this close to the threshold."""

needs_tested_torch = pytest.mark.skipif(
    TorchVersion(torch.__version__) < OLDEST_TESTED_TORCH,
    reason=f"exports are tested with torch {OLDEST_TESTED_TORCH} and newer",
)
DATA_DEPENDENT = (
    "nonzero",
    "index_put",
    "scatter",
    "masked_select",
    "unique",
    "cond",
    "while",
    "embedding_bag",
    "sort",
)


def padded_images(graph: ExportedGraph, *sizes: tuple[int, int], seed: int = 0) -> Tensor:
    """Random images of these (height, width), padded to the size of a batch: (B, 3, H, W) uint8."""
    height, width = (max(size[axis] + -size[axis] % 32 for size in sizes) for axis in (0, 1))
    batch = graph.pad_value.to(torch.uint8).expand(len(sizes), 3, height, width).clone()
    generator = torch.Generator().manual_seed(seed)
    for image, (rows, columns) in zip(batch, sizes, strict=True):
        image[:, :rows, :columns] = torch.randint(0, 256, (3, rows, columns), generator=generator, dtype=torch.uint8)
    return batch


@torch.no_grad()
def reference(model: SOLOv2, images: Tensor, *sizes: tuple[int, int]) -> list[InstanceData]:
    """What the model detects in padded images, at the sizes (height, width) without padding."""
    inputs = [image.flip(0)[:, :rows, :columns] for image, (rows, columns) in zip(images, sizes, strict=True)]  # BGR
    batch = model.data_preprocessor({"inputs": inputs})["inputs"]
    assert batch.shape == images.shape
    return model.postprocess(model.compute_outputs(batch), image_sizes=sizes, original_sizes=sizes)


def check_detections(
    outputs: list[Tensor], expected: InstanceData, *, size: tuple[int, int], score_tolerance: float = 1e-4
) -> None:
    """Compare one image's scores, labels, boxes and masks with what the model detects.

    Args:
        outputs: (D,), (D,), (D, 4) and (D, h, w).
        expected: as `reference` returns it.
        size: (height, width) of the image without padding.
        score_tolerance: largest difference of scores.
    """
    scores, labels, boxes, masks = outputs
    count = len(expected.scores)
    assert labels[:count].tolist() == expected.labels.tolist()
    assert (labels[count:] == -1).all() and (scores[count:] == 0).all()
    assert not boxes[count:].any() and not masks[count:].any()
    torch.testing.assert_close(scores[:count], expected.scores, rtol=0, atol=score_tolerance)
    probabilities = masks[:count].float() / 255
    below, found, above = (
        resize_masks(probabilities, image_size=size, original_size=size, threshold=0.5 + offset)
        for offset in (-NEAR_THRESHOLD, 0, NEAR_THRESHOLD)
    )
    is_near = below & ~above
    assert not ((found != expected.masks) & ~is_near).any()


def export_config(model: dict[str, Any], *steps: dict[str, Any]) -> Config:
    """The config of a model with these steps between loading and packing of its test pipeline."""
    return Config(dict(model=model, test_pipeline=[dict(type="LoadImage"), *steps, dict(type="PackSample")]))


def build_calm(config: dict[str, Any]) -> SOLOv2:
    """`build_random` with small offsets of deformable convolutions: large ones multiply rounding errors."""
    model = build_random(config).requires_grad_(False)
    for name, parameter in model.named_parameters():
        if "conv_offset" in name:
            parameter *= 0.01
    return model


def write_random_checkpoint(config: Config, path: Path) -> Path:
    """Write random weights whose scores are spread around the threshold."""
    torch.save({"state_dict": build_calm(config.model).state_dict()}, path)
    return path


def operators(program: ExportedProgram) -> set[str]:
    """Names of all operators of a graph, after in-place ones are replaced."""
    nodes = program.run_decompositions({}).graph.nodes
    return {str(node.target) for node in nodes if node.op == "call_function"}
