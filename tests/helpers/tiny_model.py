"""A SOLOv2 of a few milliseconds and objects for it, for the tests of the model and of its parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor

import solo  # noqa: F401  (makes mmdet importable)
from solo.models import SOLOv2
from solo.registry import MODELS
from tests.helpers.ground_truth import ground_truth, sample_from

NUM_CLASSES = 3


def tiny_config(*, kernel_size: int = 1, norm_eval: bool = True, **parts: dict[str, Any]) -> dict[str, Any]:
    """Four levels, 120 cells, three classes; `parts` are merged into the dicts of the same name."""
    config: dict[str, Any] = dict(
        type="SOLOv2",
        num_classes=NUM_CLASSES,
        kernel_size=kernel_size,
        data_preprocessor=dict(
            type="ImagePreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
        ),
        backbone=dict(type="mmdet.ResNet", depth=18, base_channels=8, frozen_stages=-1, norm_eval=norm_eval),
        neck=dict(type="mmdet.FPN", in_channels=[8, 16, 32, 64], out_channels=16, num_outs=4),
        grid=dict(
            num_grids=[8, 6, 4, 2], strides=[8, 8, 16, 32], scale_ranges=[(1, 24), (16, 48), (32, 96), (64, 512)]
        ),
        mask_feature=dict(type="MaskFeatureBranch", in_channels=16, feat_channels=16, out_channels=8, num_groups=4),
        head=dict(
            type="SOLOv2Head",
            in_channels=16,
            feature_strides=(4, 8, 16, 32),
            feat_channels=16,
            num_convs=1,
            num_groups=4,
        ),
        assigner=dict(type="GridAssigner"),
        criterion=dict(type="SOLOv2Criterion", loss_cls=dict(type="FocalLoss"), loss_mask=dict(type="DiceLoss")),
        postprocess=dict(type="SOLOv2PostProcessor", min_area_factor=0.25, nms=dict(type="MatrixNMS")),
    )
    for name, part in parts.items():
        config[name] = {**config[name], **part}
    return config


TINY_HEADS: dict[str, dict[str, Any]] = {
    "solo": dict(type="SOLOHead"),
    "decoupled": dict(type="DecoupledSOLOHead"),
    "light": dict(type="DecoupledSOLOHead", shared_mask_tower=True),
}


def tiny_solo_config(kind: str, **parts: dict[str, Any]) -> dict[str, Any]:
    """The same with one of the heads that make masks without dynamic kernels."""
    config = tiny_config(**parts)
    config.update(type="SOLO", mask_feature=None)
    config["head"].update(TINY_HEADS[kind])
    config["assigner"].setdefault("shared_cell_masks", "owner")
    return config


def build_tiny(*, seed: int = 0, **options: Any) -> SOLOv2:
    """The tiny model with random weights and class logits spread around the score threshold, in evaluation mode."""
    return build_random(tiny_config(**options), seed=seed)


def build_random(config: dict[str, Any], *, seed: int = 0) -> SOLOv2:
    """A model with random weights and class logits spread around the score threshold, in evaluation mode."""
    torch.manual_seed(seed)
    model = MODELS.build(config)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=(2.0 / parameter[0].numel()) ** 0.5)
        elif name == "head.category_predictor.bias":
            torch.nn.init.constant_(parameter, -2.0)
        elif "mask_predictors" in name:
            torch.nn.init.constant_(parameter, 0.5)
    return model.eval()


def rectangles(size: tuple[int, int], *boxes: tuple[int, int, int, int]) -> Tensor:
    """Masks (N, H, W) bool of filled boxes x1 y1 x2 y2."""
    masks = torch.zeros(len(boxes), *size, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[y1:y2, x1:x2] = True
    return masks


def training_sample(masks: Tensor, labels: Sequence[int]) -> BaseDataElement:
    """The sample that carries objects with full-size masks (N, H, W) to the model."""
    return sample_from(ground_truth(masks, labels))


def prediction_sample(image_size: tuple[int, int], original_size: tuple[int, int] | None = None) -> BaseDataElement:
    """The sample of an image to predict."""
    return BaseDataElement(metainfo=dict(img_shape=image_size, ori_shape=original_size or image_size))
