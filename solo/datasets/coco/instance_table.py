"""The instances of one image, as they are stored and as mmdet's transforms expect them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from solo.masks.segmentations import Segmentation, pack_segmentation, unpack_segmentation


@dataclass(frozen=True, kw_only=True)
class ImageInstances(Sequence[dict[str, Any]]):
    """The N instances of one image: small, and quick to pickle.

    As a sequence it holds what mmdet's transforms expect, made on access: `dict(bbox=[x1, y1, x2, y2], bbox_label,
    ignore_flag, mask=RLE or [[x, y, x, y, ...], ...])`.
    """

    boxes: bytes  # (N, 4) x1 y1 x2 y2 in pixels of the image, as float64
    labels: list[int]  # N
    ignore_flags: list[int]  # N times 1 for a crowd region, 0 for an object
    masks: list[Segmentation]  # N

    @classmethod
    def from_dicts(cls, instances: Sequence[dict[str, Any]]) -> ImageInstances:
        """Take instances as mmdet's data sets give them; one without a usable mask is to be ignored.

        Raises:
            SegmentationError: A polygon is far away, or holds something else than finite numbers.
        """
        masks = [pack_segmentation(instance["mask"]) for instance in instances]
        return cls(
            boxes=np.array([instance["bbox"] for instance in instances], np.float64).tobytes(),
            labels=[int(instance["bbox_label"]) for instance in instances],
            ignore_flags=[int(i["ignore_flag"] or not mask) for i, mask in zip(instances, masks, strict=True)],
            masks=masks,
        )

    def box_array(self) -> npt.NDArray[np.float64]:
        """The boxes (N, 4) x1 y1 x2 y2, read-only."""
        return np.frombuffer(self.boxes, np.float64).reshape(-1, 4)

    def __len__(self) -> int:
        return len(self.labels)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        return dict(
            bbox=self.box_array()[index].tolist(),
            bbox_label=self.labels[index],
            ignore_flag=self.ignore_flags[index],
            mask=unpack_segmentation(self.masks[index]),
        )
