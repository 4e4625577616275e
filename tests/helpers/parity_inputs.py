"""Inputs of the parity tests: generated objects, and their forms here and in mmdet."""

from __future__ import annotations

import numpy as np
import torch
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor

from solo.structures import GroundTruth
from tests.helpers.bitmaps import mass_centers
from tests.helpers.ground_truth import ground_truth, sample_from
from tests.helpers.mmdet_oracle import model_options

SIZES = [(128, 160), (256, 192), (96, 96)]
GEOMETRIES = [((128, 160), (128, 160)), ((120, 152), (150, 190)), ((100, 160), (61, 97))]


def relative_difference(ours: Tensor, reference: Tensor) -> float:
    return float((ours - reference).abs().max() / reference.abs().max())


def random_objects(
    height: int, width: int, *, count: int, num_classes: int, generator: torch.Generator
) -> InstanceData:
    """Random ellipses as full-size masks with loose boxes, the way an annotation has them."""
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    masks, boxes = [], []
    for _ in range(count):
        center = torch.rand(2, generator=generator) * torch.tensor([width, height])
        radii = 2 + torch.rand(2, generator=generator) ** 2 * torch.tensor([width, height]) * 0.5
        mask = ((columns - center[0]) / radii[0]) ** 2 + ((rows - center[1]) / radii[1]) ** 2 < 1
        noise = torch.rand(4, generator=generator) * 0.9
        corners = torch.cat([center - radii, center + radii]) + noise
        boxes.append(corners.clamp(min=0).minimum(torch.tensor([width, height, width, height])))
        masks.append(mask)
    labels = torch.randint(num_classes, (count,), generator=generator)
    return InstanceData(
        labels=labels,
        bboxes=torch.stack(boxes).float() if boxes else torch.zeros(0, 4),
        masks=torch.stack(masks) if masks else torch.zeros(0, height, width, dtype=torch.bool),
    )


def away_from_borders(objects: InstanceData, *, num_grids: tuple[int, ...], size: tuple[int, int]) -> InstanceData:
    """Without objects whose centre region ends within a thousandth of a cell border, where rounding decides."""
    centers = mass_centers(objects.masks)
    reach = 0.1 * (objects.bboxes[:, 2:] - objects.bboxes[:, :2])
    extent = torch.tensor([size[1], size[0]])
    keep = torch.ones(len(objects), dtype=torch.bool)
    for points in (centers, centers - reach, centers + reach):
        for side in num_grids:
            cells = points / extent * side
            keep &= ~((cells - cells.round()).abs() < 1e-3).any(dim=1)
    return objects[keep | centers.isnan().any(dim=1)]


def special_cases(height: int, width: int) -> InstanceData:
    """Objects in one cell, outside every scale range, with an empty stride-4 mask, with an empty mask."""
    masks = torch.zeros(6, height, width, dtype=torch.bool)
    masks[0, 30:51, 41:70] = True
    masks[1, 31:52, 42:68] = True
    masks[2, 33:47, 45:66] = True
    masks[3, :, :] = True
    masks[4, 60:63, 80:82] = True
    boxes = torch.tensor(
        [
            [41, 30, 70, 51],
            [42, 31, 68, 52],
            [45, 33, 66, 47],
            [-900, -900, 900, 900],
            [80, 60, 82, 63],
            [10, 10, 30, 40],
        ]
    ).float()
    masks[4] = False
    masks[4, 63:65, 80:83] = True
    return InstanceData(labels=torch.tensor([0, 3, 1, 2, 4, 1]), bboxes=boxes, masks=masks)


def to_ground_truth(objects: InstanceData) -> GroundTruth:
    return ground_truth(objects.masks, objects.labels, boxes=objects.bboxes)


def to_mmdet(objects: InstanceData) -> InstanceData:
    from mmdet.structures.mask import BitmapMasks

    masks = objects.masks.numpy().astype(np.uint8)
    return InstanceData(
        labels=objects.labels,
        bboxes=objects.bboxes,
        masks=BitmapMasks(masks, *objects.masks.shape[-2:]),
    )


def random_batch(size: tuple[int, int], case: str, generator: torch.Generator) -> list[InstanceData]:
    """Objects of two images of one padded size."""
    options = model_options()
    batch = [
        random_objects(*size, count=count, num_classes=options["num_classes"], generator=generator) for count in (12, 5)
    ]
    batch = [away_from_borders(o, num_grids=options["num_grids"], size=size) for o in batch]
    if case == "special":
        return [away_from_borders(special_cases(*size), num_grids=options["num_grids"], size=size), batch[0]]
    if case == "one empty":
        return [batch[0], batch[1][:0]]
    return batch


CASES = [(size, "random") for size in SIZES] + [((128, 160), "special"), ((128, 160), "one empty")]


def to_sample(objects: InstanceData) -> BaseDataElement:
    return sample_from(to_ground_truth(objects))
