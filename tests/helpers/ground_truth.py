"""Ground truth and samples made from full-size masks, as the loader makes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor

from solo.masks.bitmaps import boxes_from_masks
from solo.masks.instance_masks import InstanceMasks
from solo.masks.mask_windows import MaskWindows, pack_windows
from solo.masks.transformed_runs import rasterise_windows
from solo.structures import GroundTruth, gt_mask_key
from tests.helpers.bitmaps import downsample_masks, mass_centers


def pack_masks(masks: Tensor) -> MaskWindows:
    """Pack bitmaps (N, h, w)."""
    runs = InstanceMasks.from_bitmaps(masks.numpy()).transformed_runs()
    return pack_windows(rasterise_windows(runs), size=(masks.shape[1], masks.shape[2]))


def ground_truth(masks: Tensor, labels: Sequence[int] | Tensor, *, boxes: Tensor | None = None) -> GroundTruth:
    """The record of objects with masks (N, H, W) and, unless given, their tightest boxes."""
    return GroundTruth(
        labels=np.asarray(labels, np.int64),
        boxes=(boxes_from_masks(masks) if boxes is None else boxes).numpy(),
        centers=mass_centers(masks).numpy(),
        masks=pack_masks(downsample_masks(masks)),
        coarse_masks={stride: pack_masks(downsample_masks(masks, stride=stride)) for stride in (8, 16)},
    )


def sample_from(truth: GroundTruth) -> BaseDataElement:
    """The sample that carries the objects to the model."""
    sample = BaseDataElement()
    sample.gt_instances = InstanceData(
        labels=truth.labels,
        bboxes=truth.boxes,
        centers=truth.centers,
        masks=truth.masks,
        **{gt_mask_key(stride): masks for stride, masks in truth.coarse_masks.items()},
    )
    return sample
