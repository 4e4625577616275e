"""Assigner: decides which grid cells should predict which objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from solo.masks.mask_windows import unpack_masks
from solo.masks.resize_taps import MASK_STRIDE
from solo.models.grid import Grid
from solo.registry import TASK_UTILS
from solo.structures import GridTargets, GroundTruth

Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
INT_CAST_BOUND = 2.0**40
"""Bound of a quotient before it is cast to an integer, more cells than any grid has."""
_NEIGHBOURS = np.array([-1, 0, 1])


@TASK_UTILS.register_module()
class GridAssigner:
    """An object is positive in the cells that its centre region touches, on every level whose scale range contains it.

    The centre region is the object's box scaled by `pos_scale` and moved to the mask's mass centre, clipped to the 3x3
    cells around the centre (SOLO paper, section 3.3.1). All nine cells of all objects and levels are decided at once,
    in numpy: the samples' arrays are on the CPU, and so small that the overhead of tensor operations would dominate.

    Args:
        grid: The cells.
        num_classes: C, the background label.
        pos_scale: Side of the centre region relative to the object's box.
        shared_cell: Which of several objects gives a shared cell its label: the "later" in the annotations, as in all
            reference implementations, or the "smaller" by box area.
        shared_cell_masks: Which masks a shared cell is trained with: those of "all" objects, as in SOLOv2, or that of
            the "owner" of its label, as in SOLO.
        max_positives: Largest number of positives of an image whose masks are trained, None for all. Objects keep their
            cells in rounds, one a round, the most central first and the finest level's among equals. Labels of cells
            do not change. Bounds the time of a step on crowded images; not for `mask_loss_norm="cells"`, which divides
            by all labelled cells.

    Raises:
        ValueError: `shared_cell` or `shared_cell_masks` is unknown, or `max_positives` below 1.
    """

    def __init__(
        self,
        *,
        grid: Grid,
        num_classes: int,
        pos_scale: float = 0.2,
        shared_cell: Literal["later", "smaller"] = "later",
        shared_cell_masks: Literal["all", "owner"] = "all",
        max_positives: int | None = None,
    ) -> None:
        if shared_cell not in ("later", "smaller"):
            raise ValueError(f"shared_cell must be 'later' or 'smaller', not {shared_cell!r}")
        if shared_cell_masks not in ("all", "owner"):
            raise ValueError(f"shared_cell_masks must be 'all' or 'owner', not {shared_cell_masks!r}")
        if max_positives is not None and max_positives < 1:
            raise ValueError(f"max_positives must be at least 1, or None for all positives, not {max_positives}")
        self.grid = grid
        self.num_classes = num_classes
        self.pos_scale = pos_scale
        self.shared_cell = shared_cell
        self.shared_cell_masks = shared_cell_masks
        self.max_positives = max_positives
        self._num_grids = np.array(grid.num_grids)
        self._first_cell = np.cumsum((0, *grid.level_sizes[:-1]))
        self._cell_sides = (1.0 / self._num_grids).astype(np.float32)
        self._lowest_scales, self._highest_scales = np.array(grid.scale_ranges, dtype=np.float32).T
        # Offset of each neighbour's cell index from that of the cell in the middle.
        self._to_neighbours = _NEIGHBOURS[:, None] * self._num_grids[:, None, None] + _NEIGHBOURS  # (L, 3, 3)

    def __call__(
        self, ground_truth: Sequence[GroundTruth], mask_size: tuple[int, int], *, device: torch.device | str = "cpu"
    ) -> GridTargets:
        """Assign the objects of a batch.

        Args:
            ground_truth: One record an image.
            mask_size: (h, w) of the mask features; the padded input is four times as large.
            device: Where the targets go and the masks are unpacked; the CPU does not wait for it.

        Returns:
            The targets of the batch.

        Raises:
            ValueError: A label lies outside [0, C), or masks are larger than the input.
        """
        labels = np.concatenate([image.labels for image in ground_truth])  # (N,) over the batch
        boxes = np.concatenate([image.boxes for image in ground_truth])  # (N, 4)
        centers = np.concatenate([image.centers for image in ground_truth])  # (N, 2)
        if (outside := labels[(labels < 0) | (labels >= self.num_classes)]).size:
            raise ValueError(f"object label {outside[0]} in the data, but the model has {self.num_classes} classes")
        image_of_object = np.arange(len(ground_truth)).repeat([len(image.labels) for image in ground_truth])

        is_positive, cells = self.match(boxes, centers, mask_size)  # (N, L, 3, 3) each
        where = is_positive.nonzero()
        positives = np.array([image_of_object[where[0]], cells[where], where[0]])  # (3, P) image, cell, object
        claims = self.sort_by_priority(positives, boxes)  # (3, P)
        cell_labels = np.full((len(ground_truth), self.grid.num_cells), self.num_classes)  # (B, S)
        # NumPy keeps the last of repeated indices: the object of the highest priority wins the cell.
        cell_labels[claims[0], claims[1]] = labels[claims[2]]
        chosen = self._select_trained(positives, where, claims)
        size = len(ground_truth), self.grid.num_levels
        group = (positives[0] * size[1] + where[1])[chosen]  # (P',) image and level as one number
        counts: Integers = np.bincount(group, minlength=size[0] * size[1]).reshape(size)  # (B, L)
        trained = positives.take(chosen[group.argsort(kind="stable")], axis=1)  # (3, P')
        num_cells = np.array(np.count_nonzero(cell_labels < self.num_classes))
        sent_labels, (image_idx, cell_idx, object_idx), sent_num_cells = _to_device(
            [cell_labels, trained, num_cells], device
        )
        masks = _unpack_masks(ground_truth, mask_size, device)
        return GridTargets(
            labels=sent_labels,
            image_idx=image_idx,
            cell_idx=cell_idx,
            object_idx=object_idx,
            masks=masks.pop(MASK_STRIDE),
            num_cells=sent_num_cells,
            positives_per_image=counts.sum(axis=1).tolist(),
            positives_per_level=counts.tolist(),
            coarse_masks=masks,
        )

    def _select_trained(self, positives: Integers, where: tuple[NDArray[Any], ...], claims: Integers) -> Integers:
        """Indices of the positives whose masks are trained.

        `positives` (3, P) are image, cell and object, sorted by object, `where` their indices into (N, L, 3, 3),
        `claims` the same columns by priority.
        """
        image_idx, cell_idx, object_idx = positives
        chosen = np.arange(len(image_idx))
        if self.shared_cell_masks == "owner":
            owner = np.empty((image_idx.max(initial=-1) + 1, self.grid.num_cells), np.int64)
            owner[claims[0], claims[1]] = claims[2]
            chosen = chosen[owner[image_idx, cell_idx] == object_idx]
        if self.max_positives is not None:
            rows = tuple(axis[chosen] for axis in where)
            chosen = chosen[_select_most_central(positives[:, chosen], rows, limit=self.max_positives)]
        return chosen

    def match(self, boxes: Floats, centers: Floats, mask_size: tuple[int, int]) -> tuple[Bools, Integers]:
        """Match objects with cells, each image on its own: what is positive before cells are shared.

        Args:
            boxes: (N, 4) x1 y1 x2 y2 in pixels of the padded input.
            centers: (N, 2) x y of the mass centres, likewise; NaN matches nothing.
            mask_size: (h, w) of the mask features; the padded input is four times as large.

        Returns:
            (N, L, 3, 3) whether each of the 3x3 cells around the centre is positive on each level, and its index.
        """
        sides = boxes[:, 2:] - boxes[:, :2]  # (N, 2)
        with np.errstate(invalid="ignore", over="ignore"):
            scales = np.sqrt(sides[:, :1] * sides[:, 1:])  # (N, 1)
        is_in_range = (scales >= self._lowest_scales) & (scales <= self._highest_scales)  # (N, L)

        reach = np.float32(0.5) * sides * np.float32(self.pos_scale)
        center, first, last = self._to_cells(np.array([centers, centers - reach, centers + reach]), mask_size)
        first, last = np.maximum(first, 0), np.minimum(last, self._num_grids[:, None] - 1)  # (N, L, 2) column and row
        around = center[:, :, None] + _NEIGHBOURS[:, None]  # (N, L, 3, 2)
        inside = (around >= first[:, :, None]) & (around <= last[:, :, None])

        is_positive = is_in_range[:, :, None, None] & inside[:, :, :, None, 1] & inside[:, :, None, :, 0]
        middle = self._first_cell + center[:, :, 1] * self._num_grids + center[:, :, 0]  # (N, L)
        return is_positive, middle[:, :, None, None] + self._to_neighbours

    def _to_cells(self, points: Floats, mask_size: tuple[int, int]) -> Integers:
        """Convert (..., N, 2) x y in pixels to (..., N, L, 2) column and row.

        Truncated in float32 as in the reference implementations: at a cell's border the quotient decides, and `floor`,
        `//` and a multiplication each round some borders elsewhere.
        """
        extent = np.array([mask_size[1] * MASK_STRIDE, mask_size[0] * MASK_STRIDE], dtype=np.float32)
        quotient = (points / extent)[..., None, :] / self._cell_sides[:, None]
        # Clamp inf and NaN so that the int64 cast is defined; such points match no cell.
        return np.fmin(np.fmax(quotient, -INT_CAST_BOUND), INT_CAST_BOUND).astype(np.int64)

    def sort_by_priority(self, positives: Integers, boxes: Floats) -> Integers:
        """Sort the positives (3, P), which are sorted by object, so that the last one of a cell is to win it."""
        if self.shared_cell == "later":
            return positives
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        priority = (-areas).argsort(kind="stable").argsort()
        return positives[:, priority[positives[2]].argsort(kind="stable")]


def _select_most_central(positives: Integers, where: tuple[NDArray[Any], ...], *, limit: int) -> Integers:
    """Ascending indices of at most `limit` positives an image, chosen in rounds: each object's next most central cell.

    `positives` (3, P) are image, cell and object, sorted by object, `where` their indices into (N, L, 3, 3).
    """
    image_idx, _, object_idx = positives
    steps_from_center = abs(where[2] - 1) + abs(where[3] - 1)  # (P,)
    by_object = np.lexsort((steps_from_center, object_idx))
    rounds = np.arange(len(object_idx)) - np.searchsorted(object_idx, object_idx[by_object])  # rank within the object
    by_round = by_object[np.lexsort((object_idx[by_object], rounds, image_idx[by_object]))]
    rank = np.arange(len(object_idx)) - np.searchsorted(image_idx, image_idx[by_round])  # rank within the image
    return np.sort(by_round[rank < limit])


def _to_device(arrays: Sequence[Integers], device: torch.device | str) -> list[Tensor]:
    """Send the arrays to the device in one copy, without waiting for it."""
    sent = torch.from_numpy(np.concatenate([array.ravel() for array in arrays])).to(device, non_blocking=True)
    parts = sent.split_with_sizes([array.size for array in arrays])
    return [part.view(array.shape) for part, array in zip(parts, arrays, strict=True)]


def _unpack_masks(
    ground_truth: Sequence[GroundTruth], mask_size: tuple[int, int], device: torch.device | str
) -> dict[int, Tensor]:
    """The masks of all objects of the batch, (sum of N, H/stride, W/stride) bool by stride."""
    packed = [{MASK_STRIDE: image.masks, **image.coarse_masks} for image in ground_truth]
    height, width = (side * MASK_STRIDE for side in mask_size)
    return {
        stride: unpack_masks(
            [masks[stride] for masks in packed], (-(-height // stride), -(-width // stride)), device=device
        )
        for stride in packed[0]
    }
