"""The last transform: a sample as the model takes it, with small targets already worked out in the loader."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.structures import BaseDataElement, InstanceData

from solo.ops.masks import downsample_masks, mass_centers
from solo.registry import TRANSFORMS

_META_KEYS = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor", "flip", "flip_direction")
_GROUND_TRUTH_KEYS = ("gt_bboxes", "gt_bboxes_labels", "gt_masks")


@TRANSFORMS.register_module()
class PackSample(BaseTransform):
    """Pack an image and, when they were loaded, its objects.

    Gives `dict(inputs=(3, H, W) uint8 BGR, data_samples=BaseDataElement)`. With ground truth the sample holds
    `gt_instances`: labels (N,) int64, bboxes (N, 4) float32 x1 y1 x2 y2 and centers (N, 2) float32 x y in pixels of the
    transformed image, masks (N, ceil(H/4), ceil(W/4)) bool. Crowd regions and objects of which the transforms have
    left no pixel are not in it.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """See the class."""
        image = results["img"]
        sample = BaseDataElement(metainfo=_metainfo(results))
        if all(key in results for key in _GROUND_TRUTH_KEYS):
            sample.gt_instances = _pack_instances(results, (int(image.shape[0]), int(image.shape[1])))
        inputs = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).contiguous()
        return dict(inputs=inputs, data_samples=sample)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def _metainfo(results: dict[str, Any]) -> dict[str, Any]:
    """What is known of the image's way, with the values of an image that no transform touched as defaults."""
    size = results["img"].shape[:2]
    known = dict(img_id=None, img_path=None, ori_shape=size, scale_factor=(1.0, 1.0), flip=False, flip_direction=None)
    known.update({key: results[key] for key in _META_KEYS if key in results})
    known["img_shape"] = size
    for key in ("ori_shape", "img_shape"):
        known[key] = tuple(map(int, known[key]))
    return known


def _pack_instances(results: dict[str, Any], size: tuple[int, int]) -> InstanceData:
    masks = torch.from_numpy(np.asarray(results["gt_masks"].masks).astype(np.bool_)).reshape(-1, *size)
    labels = torch.as_tensor(results["gt_bboxes_labels"], dtype=torch.int64)
    boxes = results["gt_bboxes"]
    boxes = torch.as_tensor(getattr(boxes, "tensor", boxes), dtype=torch.float32).reshape(-1, 4)
    kept = masks.any(dim=2).any(dim=1)
    if "gt_ignore_flags" in results:
        kept &= ~torch.as_tensor(results["gt_ignore_flags"]).bool()
    masks = masks[kept]
    return InstanceData(
        labels=labels[kept], bboxes=boxes[kept], centers=mass_centers(masks), masks=downsample_masks(masks)
    )
