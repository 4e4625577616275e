"""Reads an image's objects from its annotation, masks as runs: what mmdet's transforms work on, nothing drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from solo.errors import DataError
from solo.masks.instance_masks import InstanceMasks
from solo.masks.segmentations import Segmentation, SegmentationError
from solo.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadInstances(BaseTransform):
    """Read `instances` as `mmdet.LoadAnnotations(with_bbox=True, with_mask=True)` does, but leave the masks undrawn.

    Needs `instances`, each `dict(bbox=[x1, y1, x2, y2], bbox_label, ignore_flag, mask=polygons or RLE)` in pixels of
    the annotated image, and `ori_shape` (H, W). Adds `gt_bboxes` (mmdet's HorizontalBoxes), `gt_bboxes_labels` (N,)
    int64, `gt_ignore_flags` (N,) bool and `gt_masks` (`InstanceMasks`). An object without a usable mask is ignored.
    """

    def __init__(self) -> None:
        from solo.datasets.transforms.instance_boxes import (
            InstanceBoxes,  # imports mmdet; whoever uses its transforms has it
        )

        self._boxes = InstanceBoxes

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """See the class.

        Raises:
            DataError: A mask is a malformed RLE, one of another size than the image, or a polygon too far away.
        """
        instances = results.get("instances", [])
        height, width = results["ori_shape"]
        segmentations = [_usable(instance["mask"]) for instance in instances]
        try:
            masks = InstanceMasks.of_segmentations(segmentations, height=height, width=width)
        except SegmentationError as problem:
            name = results.get("img_path") or results.get("img_id")
            raise DataError(f"image {name} ({width} x {height} pixels): {problem}") from None
        boxes = np.array([instance["bbox"] for instance in instances], np.float32).reshape(-1, 4)
        ignored = [i["ignore_flag"] or not s for i, s in zip(instances, segmentations, strict=True)]
        results["gt_bboxes"] = self._boxes.of(boxes)
        results["gt_bboxes_labels"] = np.array([instance["bbox_label"] for instance in instances], np.int64)
        results["gt_ignore_flags"] = np.array(ignored, np.bool_)
        results["gt_masks"] = masks
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def _usable(segmentation: Any) -> Segmentation:
    """The segmentation without polygons that enclose nothing; no polygon when none of it can be used."""
    if isinstance(segmentation, list):
        return [polygon for polygon in segmentation if len(polygon) % 2 == 0 and len(polygon) >= 6]
    is_rle = isinstance(segmentation, dict) and "size" in segmentation
    return segmentation if is_rle and isinstance(segmentation.get("counts"), (list, str, bytes)) else []
