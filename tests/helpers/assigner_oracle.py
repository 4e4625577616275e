"""The assignment by plain loops, and ground truth for its tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from solo.models import Grid, GridAssigner
from solo.structures import GridTargets, GroundTruth
from tests.helpers.ground_truth import pack_masks

NUM_CLASSES = 3


def assigner_of(
    num_grids: tuple[int, ...] = (4,), scale_ranges: tuple[tuple[float, float], ...] = ((1, 1000),), **options: Any
) -> GridAssigner:
    grid = Grid(num_grids=num_grids, strides=[8] * len(num_grids), scale_ranges=scale_ranges)
    return GridAssigner(grid=grid, num_classes=NUM_CLASSES, **options)


def truth_of(
    boxes: list[tuple[float, ...]],
    *,
    labels: list[int] | None = None,
    centers: list[tuple[float, float]] | None = None,
    mask_size: tuple[int, int] = (4, 4),
) -> GroundTruth:
    """Objects whose centre is the middle of the box unless given; row i's mask holds pixel i alone."""
    count = len(boxes)
    corners = np.array(boxes, np.float32).reshape(count, 4)
    middle = (corners[:, :2] + corners[:, 2:]) / 2
    masks = torch.zeros(count, mask_size[0] * mask_size[1], dtype=torch.bool)
    masks[torch.arange(count), torch.arange(count) % masks.shape[1]] = True
    return GroundTruth(
        labels=np.array(labels if labels is not None else [0] * count, np.int64),
        boxes=corners,
        centers=middle if centers is None else np.array(centers, np.float32),
        masks=pack_masks(masks.view(count, *mask_size)),
    )


def pairs(targets: GridTargets) -> list[tuple[int, int, int]]:
    """(image, cell, object) of every positive, sorted."""
    columns = (targets.image_idx.tolist(), targets.cell_idx.tolist(), targets.object_idx.tolist())
    return sorted(zip(*columns, strict=True))


def cell_of(coordinate: float, extent: int, side: int) -> int:
    """The reference implementations' `int((c / extent) // (1. / side))` with truncation, in single precision."""
    ratio = np.float32(coordinate) / np.float32(extent)
    return int(np.trunc(ratio / np.float32(1.0 / side)))


def loop_oracle(
    images: list[GroundTruth],
    *,
    num_grids: tuple[int, ...],
    scale_ranges: tuple[tuple[float, float], ...],
    padded_size: tuple[int, int],
    shared_cell: str = "later",
    pos_scale: float = 0.2,
) -> tuple[list[tuple[int, int, int]], list[list[int]]]:
    """Every cell asks every object whether it is positive: (image, cell, object) sorted, and labels by image."""
    height, width = padded_size
    positives, labels, first_object = [], [], 0
    for image, truth in enumerate(images):
        objects = []
        for row in range(len(truth.labels)):
            x1, y1, x2, y2 = truth.boxes[row]
            x, y = truth.centers[row]
            scale = np.sqrt((x2 - x1) * (y2 - y1))
            reach = (
                np.float32(0.5) * (x2 - x1) * np.float32(pos_scale),
                np.float32(0.5) * (y2 - y1) * np.float32(pos_scale),
            )
            objects.append((x, y, reach, scale, float((x2 - x1) * (y2 - y1))))
        image_labels = []
        first_cell = 0
        for side, (lower, upper) in zip(num_grids, scale_ranges, strict=True):
            for cell_row in range(side):
                for cell_column in range(side):
                    cell = first_cell + cell_row * side + cell_column
                    claims = []
                    for row, (x, y, reach, scale, area) in enumerate(objects):
                        if not (np.isfinite(x) and np.isfinite(y) and lower <= scale <= upper):
                            continue
                        near = (
                            abs(cell_column - cell_of(x, width, side)) <= 1
                            and abs(cell_row - cell_of(y, height, side)) <= 1
                        )
                        touched = cell_of(x - reach[0], width, side) <= cell_column <= cell_of(
                            x + reach[0], width, side
                        ) and cell_of(y - reach[1], height, side) <= cell_row <= cell_of(y + reach[1], height, side)
                        if near and touched:
                            claims.append((area, row))
                    positives += [(image, cell, first_object + row) for _, row in claims]
                    winner = max(claims, key=lambda claim: claim[1], default=None)
                    if shared_cell == "smaller":
                        winner = min(claims, key=lambda claim: claim[0], default=None)
                    image_labels.append(NUM_CLASSES if winner is None else int(truth.labels[winner[1]]))
            first_cell += side * side
        labels.append(image_labels)
        first_object += len(truth.labels)
    return sorted(positives), labels


def random_objects(count: int, padded_size: tuple[int, int], generator: torch.Generator) -> GroundTruth:
    extent = torch.tensor([padded_size[1], padded_size[0]])
    # Quarter pixels: many centres and ends of centre regions lie exactly on a cell's border.
    middle = (torch.rand(count, 2, generator=generator) * extent * 4).round() / 4
    sides = 1 + torch.rand(count, 2, generator=generator) ** 2 * extent * 1.5
    middle[::7] = float("nan")
    corners = torch.cat([middle.nan_to_num(5) - sides / 2, middle.nan_to_num(5) + sides / 2], dim=1)
    return GroundTruth(
        labels=torch.randint(NUM_CLASSES, (count,), generator=generator).numpy(),
        boxes=corners.numpy(),
        centers=middle.numpy(),
        masks=pack_masks(torch.rand(count, padded_size[0] // 4, padded_size[1] // 4, generator=generator) < 0.5),
    )
