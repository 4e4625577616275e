"""Copy-paste augmentation: objects of another image are pasted onto an image and occlude its objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from mmcv.transforms import BaseTransform, Compose
from mmengine.dataset import BaseDataset

from solo.errors import DataError
from solo.images.reading import UnreadableImageError
from solo.masks.instance_masks import InstanceMasks
from solo.registry import TRANSFORMS


@TRANSFORMS.register_module()
class CopyPaste(BaseTransform):
    """Paste some objects of another image of the data set (arXiv 2012.07177), as mmdet's `CopyPaste` does.

    Pasted objects occlude those of the image: these lose the covered pixels, get the tightest box around what is left,
    and are dropped when that box has moved by more than `bbox_occluded_thr` and too few pixels are left. Unlike
    mmdet's, it belongs in the pipeline of the data set itself, needs no wrapper, and uses the sample's own seed. When
    the other image cannot be read, or its pipeline gives nothing, nothing is pasted.
    """

    def __init__(
        self,
        *,
        pipeline: Sequence[Any],
        max_num_pasted: int = 100,
        bbox_occluded_thr: float = 10,
        mask_occluded_thr: int = 300,
        selected: bool = True,
    ) -> None:
        """Configure how the other image is loaded and how much is pasted.

        Args:
            pipeline: Transforms of the other image up to here, as configs or callables; both images must come out with
                the same size.
            max_num_pasted: A random choice of fewer objects than this is pasted.
            bbox_occluded_thr: An object stays when no side of its box moves by more pixels than this,
            mask_occluded_thr: or when more pixels than this are left of it.
            selected: Choose from the objects; False pastes all of them.
        """
        if max_num_pasted < 1:
            raise DataError(f"CopyPaste: max_num_pasted must be at least 1, not {max_num_pasted}")
        self.pipeline = Compose([TRANSFORMS.build(step) if isinstance(step, dict) else step for step in pipeline])
        self.max_num_pasted, self.selected = max_num_pasted, selected
        self.bbox_occluded_thr, self.mask_occluded_thr = bbox_occluded_thr, mask_occluded_thr
        self._dataset: BaseDataset | None = None

    def set_dataset(self, dataset: BaseDataset) -> None:
        """Set the data set of the other images; `CocoInstances` does so for the transforms of its pipeline."""
        self._dataset = dataset

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """See the class.

        Raises:
            DataError: The two images are of different sizes, or no data set was set.
        """
        if self._dataset is None:
            raise DataError(
                "CopyPaste must stand directly in the pipeline of CocoInstances, where its images come from"
            )
        try:
            other = self.pipeline(self._dataset.get_data_info(int(np.random.randint(len(self._dataset)))))
        except UnreadableImageError:
            return results  # counted and reported when its own sample is loaded
        return results if other is None else self.paste(results, other)

    def paste(self, results: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
        """Paste objects of `other` into `results`, both loaded and of one size (else `DataError`)."""
        height, width = results["img"].shape[:2]
        if other["img"].shape != results["img"].shape:
            raise DataError(
                f"CopyPaste: the image is {width} x {height} pixels, but the other one is "
                f"{other['img'].shape[1]} x {other['img'].shape[0]}: end both pipelines with the same crop and pad"
            )
        chosen = self._choose(len(other["gt_bboxes"]))
        if not len(chosen):
            return results
        pasted = InstanceMasks.from_masks(other["gt_masks"])[chosen]
        cover = np.zeros((height, width), np.bool_)
        for (x1, y1, x2, y2), pixels in pasted.window_bitmaps():
            cover[y1:y2, x1:x2] |= pixels
        image = np.array(results["img"], order="C")
        cv2.copyTo(np.ascontiguousarray(other["img"]), cover.view(np.uint8), image)
        masks = InstanceMasks.from_masks(results["gt_masks"]).subtract(cover)
        boxes, areas = torch.from_numpy(masks.tight_boxes()), masks.areas
        moved = (boxes - results["gt_bboxes"].tensor).abs().amax(dim=1).numpy()
        kept = np.flatnonzero((moved <= self.bbox_occluded_thr) | (areas > self.mask_occluded_thr))

        results["img"] = image
        results["gt_masks"] = InstanceMasks.cat([masks[kept], pasted])
        box_type = type(results["gt_bboxes"])
        results["gt_bboxes"] = box_type(torch.cat([boxes[kept], other["gt_bboxes"].tensor[chosen]]))
        for key in ("gt_bboxes_labels", "gt_ignore_flags"):
            results[key] = np.concatenate([results[key][kept], other[key][chosen]])
        return results

    def _choose(self, count: int) -> npt.NDArray[np.int64]:
        """Choose the indices of the objects to paste, with the same random numbers as mmdet."""
        if not self.selected:
            return np.arange(count)
        num_pasted = np.random.randint(0, min(count + 1, self.max_num_pasted))
        return np.random.choice(count, size=num_pasted, replace=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(max_num_pasted={self.max_num_pasted}, selected={self.selected})"
