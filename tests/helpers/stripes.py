"""Outputs whose masks are stripes, so that what post-processing makes of them can be worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import torch
from mmengine.structures import InstanceData

from solo.masks.bitmaps import boxes_from_masks
from solo.models import Grid, MatrixNMS, SOLOv2PostProcessor
from solo.structures import SOLOv2Outputs


def processor_of(
    num_grids: tuple[int, ...] = (2, 1), strides: tuple[int, ...] = (2, 4), kernel: str = "gaussian", **options: Any
) -> SOLOv2PostProcessor:
    grid = Grid(num_grids=num_grids, strides=strides, scale_ranges=[(1, 9)] * len(num_grids))
    return SOLOv2PostProcessor(grid=grid, nms=MatrixNMS(kernel=kernel), **options)  # type: ignore[arg-type]


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def blank(*, cells: int = 5, classes: int = 2, channels: int = 4, side: int = 4, images: int = 1) -> SOLOv2Outputs:
    """Outputs without a candidate; channel e of the mask features is 1 in stripe e of four, -1 elsewhere."""
    mask_feats = torch.full((images, channels, side, side), -1.0)
    for channel in range(channels):
        mask_feats[:, channel, channel * side // channels : (channel + 1) * side // channels] = 1
    return SOLOv2Outputs(
        torch.full((images, cells, classes), logit(0.01)), torch.zeros(images, cells, channels), mask_feats
    )


def put(
    outputs: SOLOv2Outputs, cell: int, label: int, score: float, channel: int, *, strength: float = 50.0, image: int = 0
) -> SOLOv2Outputs:
    """A candidate whose mask is one stripe; its maskness is sigmoid(strength)."""
    outputs.cls_logits[image, cell, label] = logit(score)
    outputs.kernels[image, cell] = 0
    outputs.kernels[image, cell, channel] = strength
    return outputs


def detect(
    outputs: SOLOv2Outputs,
    *,
    size: tuple[int, int] | None = None,
    original: tuple[int, int] | None = None,
    **options: Any,
) -> InstanceData:
    height, width = (4 * side for side in outputs.mask_feats.shape[-2:])
    sizes = [size or (height, width)] * len(outputs.mask_feats)
    originals = [original or sizes[0]] * len(sizes)
    return processor_of(**options)(outputs, image_sizes=sizes, original_sizes=originals)[0]


def assert_contract(result: InstanceData, original: tuple[int, int]) -> None:
    """Types, shapes and order of any result, empty ones included."""
    count = len(result.labels)
    assert result.labels.dtype == torch.int64
    assert result.scores.dtype == torch.float32
    assert result.masks.dtype == torch.bool
    assert result.bboxes.dtype == torch.float32
    assert result.scores.shape == (count,)
    assert result.masks.shape == (count, *original)
    assert result.bboxes.shape == (count, 4)
    assert result.scores.isfinite().all()
    assert result.scores.tolist() == sorted(result.scores.tolist(), reverse=True)
    assert torch.equal(result.bboxes, boxes_from_masks(result.masks))
