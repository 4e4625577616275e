"""The masks of an image's objects in a pipeline: transforms change index maps, and bitmaps are made on demand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partialmethod
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from solo.errors import DataError
from solo.masks.column_runs import ColumnRuns, Integers, runs_from_bitmaps
from solo.masks.segmentations import Segmentation, runs_from_segmentations
from solo.masks.transformed_runs import (
    AxisMaps,
    TransformedRuns,
    areas_and_centers,
    concatenate_runs,
    rasterise_windows,
    transform_runs,
)

_Change = Callable[[Integers], Integers]


class InstanceMasks:
    """The masks of an image's objects: column runs in the annotated image, and the index maps to the present one.

    Stands in for mmdet's `BitmapMasks` in `results["gt_masks"]`, with the same methods and, bit for bit, the same
    pixels. Methods that map rows to rows and columns to columns change the index maps, which all objects share. Those
    that mix the two, and rare ones, go through mmdet's bitmaps, at their cost.

    Attributes:
        height: Height of the masks in pixels.
        width: Width of the masks in pixels.
    """

    def __init__(self, parts: Sequence[tuple[ColumnRuns, AxisMaps]], *, height: int, width: int) -> None:
        """Combine the masks of at least one image, each given with its index maps to (height, width) pixels."""
        self.height, self.width = int(height), int(width)
        self._parts = list(parts)

    @classmethod
    def from_runs(cls, runs: ColumnRuns) -> InstanceMasks:
        """Take the masks of an image that is not transformed."""
        maps = AxisMaps(rows=np.arange(runs.height + 1), columns=np.arange(runs.width + 1))
        return cls([(runs, maps)], height=runs.height, width=runs.width)

    @classmethod
    def from_segmentations(cls, segmentations: Sequence[Segmentation], *, height: int, width: int) -> InstanceMasks:
        """Rasterise packed polygons and decode RLEs of an image: see `runs_from_segmentations`."""
        return cls.from_runs(runs_from_segmentations(segmentations, height=height, width=width))

    @classmethod
    def from_bitmaps(cls, bitmaps: npt.NDArray[Any]) -> InstanceMasks:
        """Take bitmaps (N, H, W), in which everything but 0 is set."""
        height, width = bitmaps.shape[1:]
        return cls.from_runs(runs_from_bitmaps([(0, 0, bitmap) for bitmap in bitmaps], height=height, width=width))

    @classmethod
    def from_masks(cls, masks: Any) -> InstanceMasks:
        """Take masks as a pipeline may hold them: these, or mmdet's `BitmapMasks` or `PolygonMasks`.

        Raises:
            DataError: They are something else.
        """
        if isinstance(masks, cls):
            return masks
        if not hasattr(masks, "to_ndarray"):
            raise DataError(f"gt_masks must be InstanceMasks, BitmapMasks or PolygonMasks, not {type(masks).__name__}")
        return cls.from_bitmaps(masks.to_ndarray().reshape(-1, masks.height, masks.width))

    def __len__(self) -> int:
        return sum(runs.num_masks for runs, _ in self._parts)

    def __getitem__(self, index: Any) -> InstanceMasks:
        """Select masks by an index, a slice, indices or booleans."""
        chosen = np.arange(len(self))[index].reshape(-1)
        ends = np.cumsum([runs.num_masks for runs, _ in self._parts], dtype=np.int64)
        part = ends.searchsorted(chosen, side="right")
        # Consecutive masks of one part stay together; an empty selection is one part too.
        groups = np.split(np.arange(len(chosen)), np.diff(part).nonzero()[0] + 1)
        parts = []
        for group in groups:
            number = part[group[0]] if len(group) else 0
            runs, maps = self._parts[number]
            parts.append((runs.select(chosen[group] - (ends[number] - runs.num_masks)), maps))
        return InstanceMasks(parts, height=self.height, width=self.width)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_masks={len(self)}, height={self.height}, width={self.width})"

    @classmethod
    def cat(cls, masks: Sequence[InstanceMasks]) -> InstanceMasks:
        """Concatenate masks of one size, at least one."""
        sizes = {(of_image.height, of_image.width) for of_image in masks}
        if len(sizes) != 1:
            raise ValueError(f"expected masks of one size, at least one; got the sizes {sorted(sizes)}")
        ((height, width),) = sizes
        return cls([part for of_image in masks for part in of_image._parts], height=height, width=width)

    def rescale(self, scale: Any, interpolation: str = "nearest") -> InstanceMasks:
        """Resize by a positive factor, or to fit into (long side, short side), as `mmcv.imrescale` does."""
        factor = scale
        if isinstance(scale, tuple):
            sides = self.height, self.width
            factor = min(max(scale) / max(sides), min(scale) / min(sides))
        if factor <= 0:
            raise ValueError(f"scale must be positive, not {scale}")
        return self.resize((int(self.height * factor + 0.5), int(self.width * factor + 0.5)), interpolation)

    def resize(self, out_shape: Sequence[int], interpolation: str = "nearest") -> InstanceMasks:
        """Resize to (height, width) pixels as `mmcv.imresize` does with its default backend."""
        if interpolation != "nearest":
            return self._through_bitmaps("resize", tuple(out_shape), interpolation)
        height, width = out_shape
        rows, columns = _map_nearest(self.height, height), _map_nearest(self.width, width)
        return self._change_maps(lambda edges: rows[edges], lambda edges: columns[edges], height, width)

    def flip(self, flip_direction: str = "horizontal") -> InstanceMasks:
        """Flip "horizontal", "vertical" or "diagonal", which is both."""
        if flip_direction not in ("horizontal", "vertical", "diagonal"):
            raise ValueError(f"flip_direction must be horizontal, vertical or diagonal, not {flip_direction!r}")
        height, width = self.height, self.width
        return self._change_maps(
            lambda edges: edges if flip_direction == "horizontal" else height - edges,
            lambda edges: edges if flip_direction == "vertical" else width - edges,
            height,
            width,
        )

    def pad(self, out_shape: Sequence[int], pad_val: float = 0) -> InstanceMasks:
        """Add background at the bottom and right up to (height, width) pixels."""
        if pad_val != 0:
            return self._through_bitmaps("pad", tuple(out_shape), pad_val)
        return self.expand(out_shape[0], out_shape[1], 0, 0)

    def expand(self, expanded_h: int, expanded_w: int, top: int, left: int) -> InstanceMasks:
        """Place the masks at row `top` and column `left` of a background of (expanded_h, expanded_w) pixels."""
        return self._change_maps(
            lambda edges: _shift(edges, expanded_h, top),
            lambda edges: _shift(edges, expanded_w, left),
            expanded_h,
            expanded_w,
        )

    def crop(self, bbox: Any) -> InstanceMasks:
        """Crop to x1 y1 x2 y2 in whole pixels, clipped to the masks; at least one pixel remains along each axis."""
        x1, x2 = (int(x) for x in np.clip(bbox[0::2], 0, self.width))
        y1, y2 = (int(y) for y in np.clip(bbox[1::2], 0, self.height))
        return self.expand(max(y2 - y1, 1), max(x2 - x1, 1), -y1, -x1)

    def _change_maps(self, rows: _Change, columns: _Change, height: int, width: int) -> InstanceMasks:
        parts = [(runs, AxisMaps(rows(maps.rows), columns(maps.columns))) for runs, maps in self._parts]
        return InstanceMasks(parts, height=height, width=width)

    def subtract(self, cover: npt.NDArray[np.bool_]) -> InstanceMasks:
        """Remove the pixels that are set in a bitmap (height, width) from all masks."""
        rest = [(x1, y1, pixels & ~cover[y1:y2, x1:x2]) for (x1, y1, x2, y2), pixels in self.window_bitmaps()]
        return self.from_runs(runs_from_bitmaps(rest, height=self.height, width=self.width))

    def _through_bitmaps(self, method: str, *args: Any, **kwargs: Any) -> InstanceMasks:
        # Only these methods need mmdet, and only its transforms call them: this package does not depend on it.
        from mmdet.structures.mask import BitmapMasks

        bitmaps = BitmapMasks(self.to_ndarray(), self.height, self.width)
        return InstanceMasks.from_masks(getattr(bitmaps, method)(*args, **kwargs))

    translate = partialmethod(_through_bitmaps, "translate")
    rotate = partialmethod(_through_bitmaps, "rotate")
    shear = partialmethod(_through_bitmaps, "shear")

    def transformed_runs(self) -> TransformedRuns:
        """The runs of all masks in the present image."""
        return concatenate_runs([transform_runs(runs, maps) for runs, maps in self._parts])

    @property
    def masks(self) -> npt.NDArray[np.uint8]:
        """Unavailable: a transform that asks for mmdet's array edits it in place, and the edits would be lost."""
        raise AttributeError(
            "InstanceMasks has no array `masks`; for a transform that needs it, load with "
            "mmdet.LoadAnnotations(with_bbox=True, with_mask=True) instead of LoadInstances"
        )

    @property
    def areas(self) -> Integers:
        """(N,) int64 number of pixels."""
        return areas_and_centers(self.transformed_runs())[0]

    def window_bitmaps(self) -> list[tuple[tuple[int, int, int, int], npt.NDArray[np.bool_]]]:
        """Each mask as its tightest window x1 y1 x2 y2 and the window's pixels (y2 - y1, x2 - x1)."""
        windows, starts, pixels = rasterise_windows(self.transformed_runs())
        bitmaps = []
        for (x1, y1, x2, y2), start in zip(windows.tolist(), starts.tolist(), strict=True):
            columns = pixels[start : start + (x2 - x1) * (y2 - y1)].reshape(x2 - x1, y2 - y1)
            bitmaps.append(((x1, y1, x2, y2), columns.T))
        return bitmaps

    def to_ndarray(self) -> npt.NDArray[np.uint8]:
        """The bitmaps (N, height, width), zeros and ones."""
        bitmaps = np.zeros((len(self), self.height, self.width), np.uint8)
        for bitmap, ((x1, y1, x2, y2), pixels) in zip(bitmaps, self.window_bitmaps(), strict=True):
            bitmap[y1:y2, x1:x2] = pixels
        return bitmaps

    def tight_boxes(self) -> npt.NDArray[np.float32]:
        """(N, 4) tightest boxes x1 y1 x2 y2 in pixels, x2 and y2 exclusive; zeros for a mask without pixels."""
        return self.transformed_runs().tight_boxes().astype(np.float32)

    def get_bboxes(self, dst_type: Any = "hbox") -> Any:
        """The tightest boxes as mmdet's boxes of some type, for its transforms."""
        from mmdet.structures.bbox import HorizontalBoxes  # see `_through_bitmaps`

        return HorizontalBoxes(self.tight_boxes()).convert_to(dst_type)


@lru_cache(maxsize=512)
def _map_nearest(size: int, new_size: int) -> Integers:
    """(size + 1,) edges of `size` positions that cv2.resize resizes to `new_size` by the nearest pixel.

    cv2 itself resizes a ramp of the positions, stored as the four bytes of a pixel, so its rounding need not be known.
    The edges are cached: data sets have few sizes, and many images of each.
    """
    ramp = np.arange(size, dtype=np.uint32).view(np.uint8).reshape(size, 1, 4)
    resized = cv2.resize(ramp, (1, new_size), interpolation=cv2.INTER_NEAREST)
    source = np.ascontiguousarray(resized).view(np.uint32).ravel().astype(np.int64)  # (new_size,)
    edges = source.searchsorted(np.arange(size + 1))
    edges.flags.writeable = False  # the cache shares it
    return edges


def _shift(edges: Integers, size: int, offset: int) -> Integers:
    """Move edges by `offset` positions in an axis of `size`; what moves out of it is not shown."""
    return (edges + offset).clip(0, size)
