"""Instance masks that mmdet's transforms can resize, flip, crop, pad and move without drawing them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import mmcv
import numpy as np
import numpy.typing as npt
import torch

from solo.errors import DataError
from solo.masks.column_runs import ColumnRuns, Integers, runs_of_bitmaps
from solo.masks.segmentations import runs_of_segmentations
from solo.masks.transformed_runs import Frame, ShownRuns, draw, join, measure, show

_MaskArray = npt.NDArray[np.uint8]


class InstanceMasks:
    """The masks of an image's objects: runs in the annotated image, and the part of it that is now seen.

    Stands in for mmdet's `BitmapMasks` in `results["gt_masks"]`, with the same methods. Those that map rows to rows and
    columns to columns move the edges of these, which all objects share; the pixels are those of mmdet's bitmaps, bit
    for bit. Those that mix the two, such as `rotate`, go through mmdet's bitmaps at mmdet's cost.

    Attributes:
        height: Height of the masks in pixels.
        width: Width of the masks in pixels.
    """

    def __init__(self, parts: Sequence[tuple[ColumnRuns, Frame]], *, height: int, width: int) -> None:
        """Take the masks of one or several images.

        Args:
            parts: The masks of each image, one at least, and the frame through which they are seen, (height, width)
                large.
            height: Height of the masks in pixels.
            width: Width of the masks in pixels.
        """
        self.height = int(height)
        self.width = int(width)
        self._parts = list(parts)

    @classmethod
    def of_segmentations(cls, segmentations: Sequence[Any], *, height: int, width: int) -> InstanceMasks:
        """Take polygons and RLEs, compressed or not, of an image; no polygon is a mask without pixels.

        Raises:
            SegmentationError: An RLE is malformed or of another size, or a polygon is too far away.
        """
        return cls._unchanged(runs_of_segmentations(segmentations, height=height, width=width))

    @classmethod
    def of_bitmaps(cls, bitmaps: npt.NDArray[Any]) -> InstanceMasks:
        """Take bitmaps (N, H, W), in which everything but 0 is set."""
        height, width = bitmaps.shape[1:]
        return cls._unchanged(runs_of_bitmaps([(0, 0, bitmap) for bitmap in bitmaps], height=height, width=width))

    @classmethod
    def of(cls, masks: Any) -> InstanceMasks:
        """Take masks as a pipeline may hold them: these, or mmdet's `BitmapMasks` or `PolygonMasks`.

        Raises:
            DataError: They are something else.
        """
        if isinstance(masks, cls):
            return masks
        if not hasattr(masks, "to_ndarray"):
            raise DataError(f"gt_masks must be InstanceMasks, BitmapMasks or PolygonMasks, not {type(masks).__name__}")
        return cls.of_bitmaps(masks.to_ndarray().reshape(-1, masks.height, masks.width))

    @classmethod
    def _unchanged(cls, runs: ColumnRuns) -> InstanceMasks:
        frame = Frame(rows=np.arange(runs.height + 1), columns=np.arange(runs.width + 1))
        return cls([(runs, frame)], height=runs.height, width=runs.width)

    # ------------------------------------------------------------------------------------------------- a sequence
    def __len__(self) -> int:
        return sum(runs.num_masks for runs, _ in self._parts)

    def __getitem__(self, index: Any) -> InstanceMasks:
        """The masks that a position, a slice, positions or booleans select."""
        chosen = np.arange(len(self))[index].reshape(-1)
        ends = np.cumsum([runs.num_masks for runs, _ in self._parts], dtype=np.int64)
        part = ends.searchsorted(chosen, side="right")
        # Neighbours of one part stay together; no mask at all is a part too.
        neighbours = np.split(np.arange(len(chosen)), np.diff(part).nonzero()[0] + 1)
        parts = []
        for positions in neighbours:
            number = part[positions[0]] if len(positions) else 0
            runs, frame = self._parts[number]
            parts.append((runs.of(chosen[positions] - (ends[number] - runs.num_masks)), frame))
        return InstanceMasks(parts, height=self.height, width=self.width)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_masks={len(self)}, height={self.height}, width={self.width})"

    @classmethod
    def cat(cls, masks: Sequence[InstanceMasks]) -> InstanceMasks:
        """The masks of all of them, which are of one size, in a row.

        Raises:
            ValueError: Nothing to join, or sizes that differ.
        """
        sizes = {(of_image.height, of_image.width) for of_image in masks}
        if len(sizes) != 1:
            raise ValueError(f"expected masks of one size, at least one; got the sizes {sorted(sizes)}")
        ((height, width),) = sizes
        return cls([part for of_image in masks for part in of_image._parts], height=height, width=width)

    # ------------------------------------------------------------------------------- index maps of rows and columns
    def rescale(self, scale: Any, interpolation: str = "nearest") -> InstanceMasks:
        """Resize as large as `mmcv.rescale_size` says, the aspect ratio kept."""
        width, height = mmcv.rescale_size((self.width, self.height), scale)
        return self.resize((height, width), interpolation)

    def resize(self, out_shape: Sequence[int], interpolation: str = "nearest") -> InstanceMasks:
        """Resize to (height, width) pixels as `mmcv.imresize` does."""
        if interpolation != "nearest":
            return self._through_bitmaps("resize", tuple(out_shape), interpolation)
        height, width = out_shape
        rows, columns = _nearest(self.height, height), _nearest(self.width, width)
        return self._mapped(lambda edges: rows[edges], lambda edges: columns[edges], height, width)

    def flip(self, flip_direction: str = "horizontal") -> InstanceMasks:
        """Flip "horizontal", "vertical" or "diagonal", which is both."""
        if flip_direction not in ("horizontal", "vertical", "diagonal"):
            raise ValueError(f"flip_direction must be horizontal, vertical or diagonal, not {flip_direction!r}")
        return self._mapped(
            lambda edges: edges if flip_direction == "horizontal" else self.height - edges,
            lambda edges: edges if flip_direction == "vertical" else self.width - edges,
            self.height,
            self.width,
        )

    def pad(self, out_shape: Sequence[int], pad_val: float = 0) -> InstanceMasks:
        """Add background at the bottom and right up to (height, width) pixels."""
        if pad_val != 0:
            return self._through_bitmaps("pad", tuple(out_shape), pad_val)
        return self.expand(out_shape[0], out_shape[1], 0, 0)

    def expand(self, expanded_h: int, expanded_w: int, top: int, left: int) -> InstanceMasks:
        """Put the masks on background of (expanded_h, expanded_w) pixels, their corner at row top and column left."""
        return self._mapped(
            lambda edges: _shifted(edges, expanded_h, top),
            lambda edges: _shifted(edges, expanded_w, left),
            expanded_h,
            expanded_w,
        )

    def crop(self, bbox: Any) -> InstanceMasks:
        """Cut to x1 y1 x2 y2 in whole pixels, itself cut to the masks; at least one pixel remains along each axis."""
        x1, x2 = (int(x) for x in np.clip(bbox[0::2], 0, self.width))
        y1, y2 = (int(y) for y in np.clip(bbox[1::2], 0, self.height))
        height, width = max(y2 - y1, 1), max(x2 - x1, 1)
        return self._mapped(
            lambda edges: _shifted(edges, height, -y1), lambda edges: _shifted(edges, width, -x1), height, width
        )

    def translate(
        self,
        out_shape: Sequence[int],
        offset: float,
        direction: str = "horizontal",
        border_value: float = 0,
        interpolation: str = "bilinear",
    ) -> InstanceMasks:
        """Cut or pad to (height, width) pixels at the bottom and right, then move everything by `offset` pixels."""
        if offset != int(offset) or border_value != 0 or direction not in ("horizontal", "vertical"):
            return self._through_bitmaps("translate", tuple(out_shape), offset, direction, border_value, interpolation)
        height, width = out_shape
        down, right = (0, int(offset)) if direction == "horizontal" else (int(offset), 0)
        return self._mapped(
            lambda edges: _shifted(_shifted(edges, height, 0), height, down),
            lambda edges: _shifted(_shifted(edges, width, 0), width, right),
            height,
            width,
        )

    def _mapped(
        self,
        change_rows: Callable[[Integers], Integers],
        change_columns: Callable[[Integers], Integers],
        height: int,
        width: int,
    ) -> InstanceMasks:
        parts = [(runs, Frame(change_rows(frame.rows), change_columns(frame.columns))) for runs, frame in self._parts]
        return InstanceMasks(parts, height=height, width=width)

    # ------------------------------------------------------------------------------------ what no index map can say
    def hidden_by(self, cover: npt.NDArray[np.bool_]) -> InstanceMasks:
        """The masks without the pixels that are set in a bitmap (height, width)."""
        rest = [(x1, y1, pixels & ~cover[y1:y2, x1:x2]) for (x1, y1, x2, y2), pixels in self.drawn_windows()]
        return self._unchanged(runs_of_bitmaps(rest, height=self.height, width=self.width))

    def rotate(self, *args: Any, **kwargs: Any) -> InstanceMasks:
        """Rotate as mmdet's `BitmapMasks.rotate` does."""
        return self._through_bitmaps("rotate", *args, **kwargs)

    def shear(self, *args: Any, **kwargs: Any) -> InstanceMasks:
        """Shear as mmdet's `BitmapMasks.shear` does."""
        return self._through_bitmaps("shear", *args, **kwargs)

    def _through_bitmaps(self, method: str, *args: Any, **kwargs: Any) -> InstanceMasks:
        from mmdet.structures.mask import BitmapMasks  # slow to import, and rarely needed

        bitmaps = BitmapMasks(self.to_ndarray(), self.height, self.width)
        return InstanceMasks.of(getattr(bitmaps, method)(*args, **kwargs))

    # --------------------------------------------------------------------------------------------------- measurements
    def shown(self) -> ShownRuns:
        """The masks as they are seen now."""
        return join([show(runs, frame) for runs, frame in self._parts])

    @property
    def masks(self) -> _MaskArray:
        """Not there: a transform that asks for mmdet's array means to write into it, which would be lost."""
        raise AttributeError(
            "InstanceMasks holds no drawn `masks`; for a transform that needs them, load with "
            "mmdet.LoadAnnotations(with_bbox=True, with_mask=True) in place of LoadInstances"
        )

    @property
    def areas(self) -> Integers:
        """(N,) int64 number of pixels."""
        return measure(self.shown()).pixels

    def drawn_windows(self) -> list[tuple[tuple[int, int, int, int], npt.NDArray[np.bool_]]]:
        """Each mask as a window x1 y1 x2 y2 that holds its pixels, and these (y2 - y1, x2 - x1)."""
        windows, starts, pixels = draw(self.shown())
        drawn = []
        for (x1, y1, x2, y2), start in zip(windows.tolist(), starts.tolist(), strict=True):
            columns = pixels[start : start + (x2 - x1) * (y2 - y1)].reshape(x2 - x1, y2 - y1)
            drawn.append(((x1, y1, x2, y2), columns.T))
        return drawn

    def to_ndarray(self) -> _MaskArray:
        """The bitmaps (N, height, width), zeros and ones."""
        bitmaps = np.zeros((len(self), self.height, self.width), np.uint8)
        for bitmap, ((x1, y1, x2, y2), pixels) in zip(bitmaps, self.drawn_windows(), strict=True):
            bitmap[y1:y2, x1:x2] = pixels
        return bitmaps

    def to_tensor(self, dtype: torch.dtype, device: Any) -> torch.Tensor:
        """The bitmaps (N, height, width) as a tensor."""
        return torch.from_numpy(self.to_ndarray()).to(device=device, dtype=dtype)

    def tight_boxes(self) -> npt.NDArray[np.float32]:
        """(N, 4) tightest boxes x1 y1 x2 y2 in pixels, x2 and y2 exclusive; zeros for a mask without pixels."""
        boxes = np.zeros((len(self), 4), np.float32)
        for box, ((x1, y1, _, _), pixels) in zip(boxes, self.drawn_windows(), strict=True):
            columns, rows = (np.flatnonzero(pixels.any(axis=axis)) for axis in (0, 1))
            if len(columns):
                box[:] = x1 + columns[0], y1 + rows[0], x1 + columns[-1] + 1, y1 + rows[-1] + 1
        return boxes

    def get_bboxes(self, dst_type: Any = "hbox") -> Any:
        """The tightest boxes as mmdet's boxes of some type."""
        from mmdet.structures.bbox import HorizontalBoxes  # slow to import, and rarely needed

        return HorizontalBoxes(self.tight_boxes()).convert_to(dst_type)


@lru_cache(maxsize=512)
def _nearest(size: int, new_size: int) -> Integers:
    """(size + 1,) where the edges of positions come to lie when `mmcv.imresize` resizes `size` pixels to the nearest.

    That function itself says it, of a ramp whose numbers are the bytes of pixels: so every version and backend of it is
    followed. Data sets have few sizes, and many images of each.
    """
    ramp = np.arange(size, dtype=np.uint32).view(np.uint8).reshape(size, 1, 4)
    resized = mmcv.imresize(ramp, (1, new_size), interpolation="nearest")
    source = np.ascontiguousarray(resized).view(np.uint32).ravel().astype(np.int64)
    edges = source.searchsorted(np.arange(size + 1))
    edges.flags.writeable = False
    return edges


def _shifted(edges: Integers, size: int, offset: int) -> Integers:
    """Edges moved by `offset` positions into an image of `size`; what is moved out of it is not shown."""
    return (edges + offset).clip(0, size)
