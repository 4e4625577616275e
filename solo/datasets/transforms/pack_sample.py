"""The last transform: a sample as the model takes it, with each object's mass centre and masks at the strides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from mmcv.transforms import BaseTransform
from mmengine.structures import BaseDataElement, InstanceData

from solo.errors import DataError
from solo.masks.instance_masks import InstanceMasks
from solo.masks.mask_windows import pack_windows
from solo.masks.resize_taps import MASK_STRIDE
from solo.masks.transformed_runs import areas_and_centers, downsample_windows
from solo.registry import TRANSFORMS
from solo.structures import gt_mask_key

_OPENCV_FLIPS = {(0,): 0, (1,): 1, (0, 1): -1}  # axes -> code
_META_KEYS = ("img_id", "img_path", "ori_shape", "scale_factor", "flip", "flip_direction")
_GROUND_TRUTH_KEYS = ("gt_bboxes", "gt_bboxes_labels", "gt_masks")


@TRANSFORMS.register_module()
class PackSample(BaseTransform):
    """Pack an image and, when they were loaded, its objects.

    Returns `dict(inputs=(C, H, W) uint8 BGR tensor, data_samples=BaseDataElement)`. With ground truth the sample holds
    `gt_instances` of arrays, which leave a worker as a few kilobytes without shared memory: labels (N,) int64, bboxes
    (N, 4) float32 x1 y1 x2 y2 and centers (N, 2) float32 x y in pixels of the transformed image, and masks at stride 4
    (`MaskWindows` of (N, ceil(H/4), ceil(W/4))). Crowd regions and objects without a pixel left are not in it.
    `gt_masks` may be the `InstanceMasks` of `LoadInstances`, or mmdet's `BitmapMasks` or `PolygonMasks`.

    Args:
        coarse_strides: Further strides of the masks: those of SOLO's levels, as (8, 16), even numbers above 4. Masks at
            stride 8 are in `masks_8`, and so on.

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
        sample = BaseDataElement(metainfo=_metainfo(results))
        if all(key in results for key in _GROUND_TRUTH_KEYS):
            sample.gt_instances = _pack_instances(results, strides=(MASK_STRIDE, *self.coarse_strides))
        return dict(inputs=_channels_first(results["img"]), data_samples=sample)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(coarse_strides={self.coarse_strides})"


def _metainfo(results: dict[str, Any]) -> dict[str, Any]:
    """The metainfo of the sample, with the values of an untransformed image as defaults."""
    size = results["img"].shape[:2]
    known = dict(img_id=None, img_path=None, ori_shape=size, scale_factor=(1.0, 1.0), flip=False, flip_direction=None)
    known.update({key: results[key] for key in _META_KEYS if key in results})
    return {**known, "ori_shape": tuple(map(int, known["ori_shape"])), "img_shape": size}


def _pack_instances(results: dict[str, Any], *, strides: Sequence[int]) -> InstanceData:
    masks = InstanceMasks.from_masks(results["gt_masks"])
    given = results["gt_bboxes"]
    boxes = np.asarray(given.numpy() if hasattr(given, "numpy") else given, np.float32).reshape(-1, 4)
    _check_sizes(masks, num_boxes=len(boxes), results=results)
    labels = np.asarray(results["gt_bboxes_labels"], np.int64)
    ignored = np.asarray(results.get("gt_ignore_flags", ()), np.bool_)
    if ignored.any():
        objects = (~ignored).nonzero()[0]
        masks, boxes, labels = masks[objects], boxes[objects], labels[objects]
    runs = masks.transformed_runs()
    areas, centers = areas_and_centers(runs)
    fields: dict[str, Any] = dict(labels=labels, bboxes=boxes, centers=centers)
    for stride in strides:
        windows = downsample_windows(runs, height=masks.height, width=masks.width, stride=stride)
        size = -(-masks.height // stride), -(-masks.width // stride)
        fields[gt_mask_key(stride)] = pack_windows(windows, size=size)
    if not areas.all():
        kept = areas.nonzero()[0]
        fields = {name: values[kept] for name, values in fields.items()}
    return InstanceData(**fields)


def _check_sizes(masks: InstanceMasks, *, num_boxes: int, results: dict[str, Any]) -> None:
    height, width = results["img"].shape[:2]
    if (masks.height, masks.width) != (height, width) or len(masks) != num_boxes:
        raise DataError(
            f"image {results.get('img_path')}: {len(masks)} masks of {masks.width} x {masks.height} pixels (width x "
            f"height) for {num_boxes} boxes and an image of {width} x {height}: some transform changed one alone"
        )


def _channels_first(image: npt.NDArray[np.uint8]) -> torch.Tensor:
    """A view (C, H, W) of an image (H, W, C), copied only when transforms have left it cropped or flipped."""
    if image.ndim == 2:  # OpenCV drops the axis of a single channel
        image = image[..., None]
    flipped = tuple(axis for axis in (0, 1) if image.strides[axis] < 0)
    if flipped:
        # mmcv flips by a view; OpenCV copies the mirrored pixels several times faster than numpy.
        image = cv2.flip(np.ascontiguousarray(np.flip(image, flipped)), _OPENCV_FLIPS[flipped]).reshape(image.shape)
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
