"""Loads an image's objects from its annotations, masks as column runs: nothing is rasterised to bitmaps."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from solo.datasets.coco.instance_table import ImageInstances
from solo.errors import DataError
from solo.masks.instance_masks import InstanceMasks
from solo.masks.segmentations import SegmentationError
from solo.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadInstances(BaseTransform):
    """Equivalent to `mmdet.LoadAnnotations(with_bbox=True, with_mask=True)`, with masks that are not rasterised.

    Needs `ori_shape` (H, W) and `instances`: the `ImageInstances` of `CocoInstances`, or a list of
    `dict(bbox=[x1, y1, x2, y2], bbox_label, ignore_flag, mask=polygons or RLE)` in pixels of the annotated image. Adds
    `gt_bboxes` (mmdet's HorizontalBoxes), `gt_bboxes_labels` (N,) int64, `gt_ignore_flags` (N,) bool and `gt_masks`
    (`InstanceMasks`). An object without a usable mask is ignored.
    """

    def __init__(self) -> None:
        # mmdet takes seconds to import; a pipeline that trains has it, one that only predicts does without.
        from mmdet.structures.bbox import HorizontalBoxes

        self._box_type = HorizontalBoxes

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """See the class.

        Raises:
            DataError: An RLE is malformed or of another size than the image, or a polygon is far away or not finite.
        """
        instances = results.get("instances", [])
        height, width = results["ori_shape"]
        try:
            if not isinstance(instances, ImageInstances):
                instances = ImageInstances.from_dicts(instances)
            masks = InstanceMasks.from_segmentations(instances.masks, height=height, width=width)
        except SegmentationError as problem:
            name = results.get("img_path") or results.get("img_id")
            raise DataError(f"image {name} ({width} x {height} pixels): {problem}") from None
        boxes = torch.from_numpy(instances.box_array().astype(np.float32))
        results["gt_bboxes"] = self._box_type(boxes, clone=False)
        results["gt_bboxes_labels"] = np.array(instances.labels, np.int64)
        results["gt_ignore_flags"] = np.array(instances.ignore_flags, np.bool_)
        results["gt_masks"] = masks
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"
