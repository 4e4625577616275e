"""Assigner: ground-truth objects to the grid cells that should predict them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from solo.models.grid import Grid
from solo.ops.masks import MASK_STRIDE
from solo.registry import TASK_UTILS
from solo.structures import GridTargets, GroundTruth


@TASK_UTILS.register_module()
class GridAssigner:
    """An object is positive in the cells that its centre region touches, on every level whose scale range holds it.

    The centre region is the box `pos_scale` times as large around the mask's mass centre, cut to the 3x3 cells around
    the centre's own (SOLO paper, section 3.3.1). There are thus nine candidate cells for each object and level, and
    all of them are decided at once. Runs on the host, where the small tensors come from the data loader.

    Args:
        grid: the cells.
        num_classes: C, the background label.
        pos_scale: side of the centre region relative to the object's box.
        shared_cell: whose label a cell gets that two objects claim: the "later" in the annotation, as in all peers,
            or the "smaller" by box area. Both masks are trained either way.

    Raises:
        ValueError: unknown `shared_cell`.
    """

    def __init__(
        self,
        *,
        grid: Grid,
        num_classes: int,
        pos_scale: float = 0.2,
        shared_cell: Literal["later", "smaller"] = "later",
    ) -> None:
        if shared_cell not in ("later", "smaller"):
            raise ValueError(f"shared_cell must be 'later' or 'smaller', not {shared_cell!r}")
        self.grid = grid
        self.num_classes = num_classes
        self.pos_scale = pos_scale
        self.shared_cell = shared_cell
        self._num_grids = torch.tensor(grid.num_grids)
        self._first_cell = torch.tensor((0, *grid.level_sizes[:-1])).cumsum(dim=0)
        self._scale_ranges = torch.tensor(grid.scale_ranges)

    @torch.no_grad()
    def __call__(self, ground_truth: Sequence[GroundTruth], mask_size: tuple[int, int]) -> GridTargets:
        """Assign the objects of a batch.

        Args:
            ground_truth: one record an image. Labels, boxes and centres are on the host; the masks may be on the
                model's device, and that is where the targets go.
            mask_size: (h, w) of the mask features; the padded input is four times as large.

        Returns:
            The targets of the batch.

        Raises:
            ValueError: a label outside [0, C).
        """
        labels = torch.cat([image.labels for image in ground_truth])
        boxes = torch.cat([image.boxes for image in ground_truth])
        centers = torch.cat([image.centers for image in ground_truth])
        self._check_labels(labels)
        image_of_object = torch.repeat_interleave(torch.tensor([len(image.labels) for image in ground_truth]))

        positive, cells = self._match(boxes, centers, mask_size)
        object_idx = positive.nonzero()[:, 0]
        cell_idx = cells[positive]
        image_idx = image_of_object[object_idx]
        owner = self._owners(len(ground_truth), image_idx, cell_idx, object_idx, boxes)
        masks = _pad_and_join([image.masks for image in ground_truth], mask_size)
        send = partial(torch.Tensor.to, device=masks.device, non_blocking=True)
        return GridTargets(
            labels=send(torch.cat([labels, labels.new_tensor([self.num_classes])])[owner]),
            image_idx=send(image_idx),
            cell_idx=send(cell_idx),
            object_idx=send(object_idx),
            masks=masks,
            num_cells=send((owner >= 0).sum()),
            positives_per_image=image_idx.bincount(minlength=len(ground_truth)).tolist(),
        )

    def _match(self, boxes: Tensor, centers: Tensor, mask_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Decide the 3x3 cells around each centre on each level: (N, L, 3, 3) positive or not, and their cell index."""
        sides = boxes[:, 2:] - boxes[:, :2]
        scales = sides.prod(dim=1).sqrt()[:, None]
        lower, upper = self._scale_ranges.unbind(dim=1)
        trained = (scales >= lower) & (scales <= upper) & centers.isfinite().all(dim=1, keepdim=True)

        center = self._to_cells(centers, mask_size)
        reach = 0.5 * sides * self.pos_scale
        first = self._to_cells(centers - reach, mask_size).clamp(min=0)
        last = self._to_cells(centers + reach, mask_size).minimum(self._num_grids[:, None] - 1)
        around = center[:, :, None] + torch.tensor([-1, 0, 1])[:, None]
        inside = (around >= first[:, :, None]) & (around <= last[:, :, None])

        inside_column, inside_row = inside.unbind(dim=-1)
        positive = trained[:, :, None, None] & inside_row[..., :, None] & inside_column[..., None, :]
        column, row = around.unbind(dim=-1)
        levels = (slice(None), None, None)
        cells = self._first_cell[levels] + row[..., :, None] * self._num_grids[levels] + column[..., None, :]
        return positive, cells

    def _to_cells(self, points: Tensor, mask_size: tuple[int, int]) -> Tensor:
        """(N, 2) x y in pixels to (N, L, 2) column and row, truncated in float32 just as the peers do.

        At a cell's border the quotient decides: `floor`, `//` and a multiplication each round some borders elsewhere.
        """
        extent = points.new_tensor([mask_size[1] * MASK_STRIDE, mask_size[0] * MASK_STRIDE])
        cell_side = (1.0 / self._num_grids.double()).float()[:, None]
        quotient = torch.div((points / extent)[:, None], cell_side, rounding_mode="trunc")
        return quotient.nan_to_num(0).long()

    def _owners(
        self, num_images: int, image_idx: Tensor, cell_idx: Tensor, object_idx: Tensor, boxes: Tensor
    ) -> Tensor:
        """(B, S) object whose label each cell gets, -1 for none: the highest priority wins, whatever the order."""
        priority = torch.arange(len(boxes))
        if self.shared_cell == "smaller":
            areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
            priority = areas.argsort(descending=True, stable=True).argsort()
        winner = torch.full((num_images * self.grid.num_cells,), -1)
        winner.scatter_reduce_(0, image_idx * self.grid.num_cells + cell_idx, priority[object_idx], "amax")
        object_of_priority = torch.cat([priority.argsort(), torch.tensor([-1])])
        return object_of_priority[winner].view(num_images, self.grid.num_cells)

    def _check_labels(self, labels: Tensor) -> None:
        outside = labels[(labels < 0) | (labels >= self.num_classes)]
        if len(outside):
            raise ValueError(
                f"object label {int(outside[0])} in the data, but the model has {self.num_classes} classes"
            )


def _pad_and_join(masks: Sequence[Tensor], mask_size: tuple[int, int]) -> Tensor:
    """Masks (N, h', w') of several images to one (sum of N, h, w), background at the bottom and right."""
    joined = masks[0].new_zeros((sum(len(image) for image in masks), *mask_size))
    start = 0
    for image in masks:
        count, height, width = image.shape
        joined[start : start + count, :height, :width] = image
        start += count
    return joined
