"""Mask AP and box AP of predicted instances."""

from __future__ import annotations

from solo.evaluation.coco_metric import CocoMaskMetric
from solo.evaluation.rle import decode_masks, encode_bits, encode_masks

__all__ = ["CocoMaskMetric", "decode_masks", "encode_bits", "encode_masks"]
