"""The last transform: a sample as the model takes it, with small targets already worked out in the loader."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from mmcv.transforms import BaseTransform
from mmengine.structures import BaseDataElement

from solo.datasets.transforms.packed_instances import PackedInstances
from solo.errors import DataError
from solo.masks.bitmaps import MASK_STRIDE
from solo.masks.instance_masks import InstanceMasks
from solo.masks.mask_targets import mask_targets
from solo.registry import TRANSFORMS
from solo.structures import mask_field

_OPENCV_FLIPS = {(0,): 0, (1,): 1, (0, 1): -1}
_META_KEYS = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor", "flip", "flip_direction")
_GROUND_TRUTH_KEYS = ("gt_bboxes", "gt_bboxes_labels", "gt_masks")


@TRANSFORMS.register_module()
class PackSample(BaseTransform):
    """Pack an image and, when they were loaded, its objects.

    Gives `dict(inputs=(3, H, W) uint8 BGR, data_samples=BaseDataElement)`. With ground truth the sample holds
    `gt_instances`: labels (N,) int64, bboxes (N, 4) float32 x1 y1 x2 y2 and centers (N, 2) float32 x y in pixels of the
    transformed image, masks at stride 4, packed (`MaskWindows` of (N, ceil(H/4), ceil(W/4))). Crowd regions and objects
    of which the transforms have left no pixel are not in it. `gt_masks` may be what `LoadInstances` gives, or mmdet's
    `BitmapMasks` or `PolygonMasks`.

    Args:
        coarse_strides: Strides at which the masks are packed as well, beside stride 4: those of SOLO's levels, as
            (8, 16), even numbers. Stride 8 is in `masks_8`, and so on.

    Raises:
        ValueError: A stride is no even number above 4.
    """

    def __init__(self, *, coarse_strides: Sequence[int] = ()) -> None:
        if any(stride <= MASK_STRIDE or stride % 2 for stride in coarse_strides):
            raise ValueError(f"coarse_strides must be even numbers above {MASK_STRIDE}, not {tuple(coarse_strides)}")
        self.coarse_strides = tuple(coarse_strides)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """See the class.

        Raises:
            DataError: The masks are of another size or number than the image or its boxes.
        """
        image = results["img"]
        sample = BaseDataElement(metainfo=_metainfo(results))
        if all(key in results for key in _GROUND_TRUTH_KEYS):
            sample.gt_instances = _pack_instances(results, strides=(MASK_STRIDE, *self.coarse_strides))
        return dict(inputs=_channels_first(image), data_samples=sample)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(coarse_strides={self.coarse_strides})"


def _metainfo(results: dict[str, Any]) -> dict[str, Any]:
    """What is known of the image's way, with the values of an image that no transform touched as defaults."""
    size = results["img"].shape[:2]
    known = dict(img_id=None, img_path=None, ori_shape=size, scale_factor=(1.0, 1.0), flip=False, flip_direction=None)
    known.update({key: results[key] for key in _META_KEYS if key in results})
    known["img_shape"] = size
    for key in ("ori_shape", "img_shape"):
        known[key] = tuple(map(int, known[key]))
    return known


def _pack_instances(results: dict[str, Any], *, strides: Sequence[int]) -> PackedInstances:
    masks = InstanceMasks.of(results["gt_masks"])
    given = results["gt_bboxes"]
    boxes = np.asarray(given.numpy() if hasattr(given, "numpy") else given, np.float32).reshape(-1, 4)
    num_masks = len(masks)
    if (masks.height, masks.width) != results["img"].shape[:2] or num_masks != len(boxes):
        height, width = results["img"].shape[:2]
        raise DataError(
            f"image {results.get('img_path')}: {num_masks} masks of {masks.width} x {masks.height} pixels (width x "
            f"height) for {len(boxes)} boxes and an image of {width} x {height}: some transform changed one alone"
        )
    labels = np.asarray(results["gt_bboxes_labels"], np.int64)
    ignored = np.asarray(results.get("gt_ignore_flags", ()), np.bool_)
    if ignored.any():
        objects = (~ignored).nonzero()[0]
        masks, boxes, labels = masks[objects], boxes[objects], labels[objects]
    targets = mask_targets(masks, strides=strides)
    if not targets.pixels.all():
        kept = targets.pixels.nonzero()[0]
        targets, boxes, labels = targets.of(kept), boxes[kept], labels[kept]
    return PackedInstances.of(
        labels=torch.from_numpy(np.ascontiguousarray(labels)),
        bboxes=torch.from_numpy(np.ascontiguousarray(boxes)),
        centers=torch.from_numpy(targets.centers),
        **{mask_field(stride): packed for stride, packed in targets.masks.items()},
    )


def _channels_first(image: npt.NDArray[np.uint8]) -> torch.Tensor:
    """A view (3, H, W) of an image (H, W, 3); the image is copied only where transforms have left holes or flips."""
    flipped = tuple(axis for axis in (0, 1) if image.strides[axis] < 0)
    if flipped:
        # mmcv flips by a view, and OpenCV copies the mirrored pixels several times faster than numpy does.
        image = cv2.flip(np.ascontiguousarray(np.flip(image, flipped)), _OPENCV_FLIPS[flipped])
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
