"""Metadata of an exported nano model."""

from __future__ import annotations

from typing import Any

from solo.runtime.metadata import ModelMetadata, PostprocessSettings


def model_metadata(**changes: Any) -> ModelMetadata:
    """Metadata with these values changed."""
    settings = PostprocessSettings(
        num_grids=(20, 12, 8, 6),
        strides=(8, 8, 16, 32),
        score_thr=0.1,
        mask_thr=0.5,
        min_area_factor=0.25,
        nms_pre=500,
        filter_thr=0.05,
        max_detections=100,
        nms_kernel="gaussian",
        nms_sigma=2.0,
    )
    values: dict[str, Any] = dict(
        contract="detections",
        solo_version="0.1.0",
        architecture="SOLOv2Head",
        classes=("ellipse", "star"),
        channel_order="RGB",
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
        pad_value=(124, 116, 104),
        resize="none",
        resize_size=None,
        size_divisor=32,
        min_size=32,
        postprocess=settings,
        checkpoint_sha256="0" * 64,
        config="model = dict()",
    )
    if changes.get("contract") == "raw":
        values.update(mask_channels=32, kernel_size=1)
    return ModelMetadata(**{**values, **changes})
