"""Mask AP and box AP of predicted instances."""

from __future__ import annotations

from solo.evaluation.coco_metric import CocoMaskMetric

__all__ = ["CocoMaskMetric"]
