"""Generated network outputs and detection results: workloads of a known size that need no trained weights."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.structures import InstanceData
from pycocotools import mask as mask_api
from torch import Tensor

from solo.errors import ConfigError
from solo.models.grid import Grid
from solo.structures import SOLOv2Outputs

LOWEST_SCORE, HIGHEST_SCORE = 0.2, 0.95
BACKGROUND_LOGIT = -6.0
SMALLEST_RADIUS, LARGEST_RADIUS = 8.0, 60.0
"""Radii of an ellipse in pixels at stride 4. The smallest one passes the area filter of every level."""
STEEPNESS = 3.0
NUM_WAVES, HIGHEST_FREQUENCY, WAVE_SHARE = 11, 8, 0.15
PARITIES = 4
KEPT_SIZES = 4
HEIGHT, WIDTH = 480, 640
NUM_CLASSES = 80
OBJECTS, FALSE_DETECTIONS = 7, 7
"""Mean numbers per image. Each object is detected once; a lower score has a larger offset."""
OUTLINE_POINTS = 20
SHORTEST_SIDE, LONGEST_SIDE = 8.0, 300.0
"""Sides of objects in pixels, log-uniform: a third each of COCO's small, medium and large ones."""


class GeneratedOutputs:
    """Outputs that a head could have computed, generated from a seed: the same for every image of one size.

    The mask of a candidate is an ellipse with a wavy border: its kernel weighs mask features that are powers of the
    coordinates, and cosine waves. Points NMS keeps every candidate and every mask passes the area filter, so the number
    of candidates is exact. Few classes or cells may have no room for it (`num_candidates`).

    Args:
        model: the `model` of a config.
        num_candidates: number of cells with a class score above the threshold.
        seed: of the random numbers.

    Attributes:
        num_candidates: number of candidates generated.

    Raises:
        ConfigError: the model's mask features have too few channels.
    """

    def __init__(self, model: Mapping[str, Any], *, num_candidates: int, seed: int = 0) -> None:
        self._channels = model["mask_feature"]["out_channels"]
        if self._channels < 5:
            raise ConfigError(f"model.mask_feature.out_channels {self._channels}: generated outputs need at least 5")
        self._grid = Grid(**model["grid"])
        self._num_classes = model["num_classes"]
        self._kernel_area = model.get("kernel_size", 1) ** 2
        self._generator = torch.Generator().manual_seed(seed)
        self._cells, self._labels = self._candidate_cells(num_candidates)
        self.num_candidates = len(self._cells)
        self._known: dict[tuple[int, int], SOLOv2Outputs] = {}
        count, waves = self.num_candidates, max(0, min(NUM_WAVES, self._channels - 5))
        self._scores = torch.linspace(LOWEST_SCORE, HIGHEST_SCORE, count)[self._permutation(count)]
        self._centers, self._radii = self._uniform(count, 2) * 2 - 1, self._uniform(count, 2)
        self._wave_weights = STEEPNESS * WAVE_SHARE * (self._uniform(count, waves) * 2 - 1)
        self._waves = self._uniform(waves, 3)

    def for_size(self, height: int, width: int) -> SOLOv2Outputs:
        """Outputs of one image, float32 on the CPU, whose mask features are (1, E, height, width)."""
        if (height, width) not in self._known:
            if len(self._known) == KEPT_SIZES:
                del self._known[next(iter(self._known))]
            self._known[height, width] = self._generate(height, width)
        return self._known[height, width]

    def _generate(self, height: int, width: int) -> SOLOv2Outputs:
        cls_logits = torch.full((1, self._grid.num_cells, self._num_classes), BACKGROUND_LOGIT)
        cls_logits[0, self._cells, self._labels] = self._scores.logit()
        # Kernels of other cells are never used.
        kernels = torch.zeros(1, self._grid.num_cells, self._channels, self._kernel_area)
        weights = self._weights(height, width)
        kernels[0, self._cells, : weights.shape[1], self._kernel_area // 2] = weights
        return SOLOv2Outputs(
            cls_logits=cls_logits, kernels=kernels.flatten(2), mask_feats=self._features(height, width)
        )

    def _weights(self, height: int, width: int) -> Tensor:
        """(D, features) of `_features`; a mask is positive inside its ellipse."""
        half = torch.tensor([width, height]) / 2
        largest = torch.minimum(torch.tensor(LARGEST_RADIUS), half / 2).clamp(min=SMALLEST_RADIUS)
        radii = SMALLEST_RADIUS * (largest / SMALLEST_RADIUS) ** self._radii / half
        # Whole ellipses inside the map.
        x, y = (self._centers * (1 - radii).clamp(min=0)).unbind(1)
        a, b = (1 / radii**2).unbind(1)
        quadric = torch.stack([1 - a * x**2 - b * y**2, 2 * a * x, 2 * b * y, -a, -b], dim=1)
        return torch.cat([STEEPNESS * quadric, self._wave_weights], dim=1)

    def _features(self, height: int, width: int) -> Tensor:
        """(1, E, height, width): 1, x, y, x squared, y squared with both from -1 to 1, waves, and zeros."""
        y = ((torch.arange(height) + 0.5) / height * 2 - 1)[:, None].expand(height, width)
        x = ((torch.arange(width) + 0.5) / width * 2 - 1)[None].expand(height, width)
        features = torch.zeros(1, self._channels, height, width)
        waves = [
            torch.cos(math.pi * HIGHEST_FREQUENCY * (float(u) * x + float(v) * y) + 2 * math.pi * float(phase))
            for u, v, phase in self._waves
        ]
        for channel, feature in enumerate([torch.ones(height, width), x, y, x**2, y**2, *waves]):
            features[0, channel] = feature
        return features

    def _candidate_cells(self, wanted: int) -> tuple[Tensor, Tensor]:
        """Select at most `wanted` cells and their classes so that points NMS suppresses none.

        Neighbours get different classes, by the parity of row and column; with fewer than four classes every second
        row and column stays empty.
        """
        sides = self._grid.num_grids
        parity = torch.cat([self._parities(side) for side in sides])
        cells = torch.arange(self._grid.num_cells)
        groups = self._num_classes // PARITIES
        if groups == 0:
            cells = cells[parity == 0]
        cells = cells[self._permutation(len(cells))[:wanted]].sort().values
        # As in photos, a few classes have most of the objects.
        popularity = 1 / torch.arange(1, max(groups, 1) + 1)
        group = popularity.multinomial(len(cells), replacement=True, generator=self._generator)
        return cells, (PARITIES * group + parity[cells]) if groups else torch.zeros_like(cells)

    @staticmethod
    def _parities(side: int) -> Tensor:
        odd = torch.arange(side) % 2
        return (2 * odd[:, None] + odd[None]).flatten()

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self._generator)

    def _permutation(self, count: int) -> Tensor:
        return torch.randperm(count, generator=self._generator)


class GeneratedResults(NamedTuple):
    """Ground truth and detections of a data set without images.

    Attributes:
        ann_file: the annotation file.
        classes: names of its categories.
        samples: of each image `img_id`, `ori_shape` and `pred_instances`: labels, scores, bboxes and RLEs.
    """

    ann_file: Path
    classes: tuple[str, ...]
    samples: list[dict[str, Any]]


def generate_results(folder: Path, *, num_images: int, seed: int = 0) -> GeneratedResults:
    """Write an annotation file of polygons, and generate detections: shifted objects and false positives.

    Args:
        folder: where the file is written.
        num_images: images, with 7 objects and 14 detections on average.
        seed: of the random numbers.
    """
    rng = np.random.default_rng(seed)
    classes = tuple(f"class {label}" for label in range(NUM_CLASSES))
    images = [dict(id=number, file_name=f"{number}.jpg", height=HEIGHT, width=WIDTH) for number in range(num_images)]
    annotations: list[dict[str, Any]] = []
    samples = []
    for image in images:
        labels, outlines = _objects(rng, rng.poisson(OBJECTS))
        for label, outline in zip(labels, outlines, strict=True):
            annotations.append(_annotation(len(annotations) + 1, image["id"], label, outline))
        samples.append(
            dict(img_id=image["id"], ori_shape=(HEIGHT, WIDTH), pred_instances=_detections(rng, labels, outlines))
        )
    categories = [dict(id=label + 1, name=name) for label, name in enumerate(classes)]
    ann_file = folder / "instances_generated.json"
    ann_file.write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))
    return GeneratedResults(ann_file, classes, samples)


def _objects(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels (count,), with a few frequent classes, and outlines (count, points, 2) x y of ellipses."""
    labels = np.minimum(rng.exponential(NUM_CLASSES / 6, count).astype(np.int64), NUM_CLASSES - 1)
    angles = np.linspace(0, 2 * np.pi, OUTLINE_POINTS, endpoint=False)
    sides = (
        SHORTEST_SIDE
        * (LONGEST_SIDE / SHORTEST_SIDE) ** rng.random((count, 1, 1))
        * rng.uniform(0.7, 1.4, (count, 1, 2))
    )
    centers = rng.random((count, 1, 2)) * np.array([WIDTH, HEIGHT])
    return labels, _clip(centers + sides / 2 * np.stack([np.cos(angles), np.sin(angles)], axis=1))


def _clip(outlines: np.ndarray) -> np.ndarray:
    """Clip to the image and round to hundredths of a pixel, as in COCO."""
    return np.asarray(outlines.clip(0, np.array([WIDTH, HEIGHT])).round(2))


def _annotation(identifier: int, image_id: Any, label: int, outline: np.ndarray) -> dict[str, Any]:
    low, high = outline.min(axis=0), outline.max(axis=0)
    polygon = outline.ravel().tolist()
    return dict(
        id=identifier,
        image_id=image_id,
        category_id=int(label) + 1,
        iscrowd=int(identifier % 100 == 0),
        bbox=[*low.tolist(), *(high - low).tolist()],
        area=float(mask_api.area(mask_api.frPyObjects([polygon], HEIGHT, WIDTH)[0])),
        segmentation=[polygon],
    )


def _detections(rng: np.random.Generator, labels: np.ndarray, outlines: np.ndarray) -> InstanceData:
    false_labels, false_outlines = _objects(rng, rng.poisson(FALSE_DETECTIONS))
    true_scores, false_scores = rng.random(len(labels)), 0.7 * rng.random(len(false_labels))
    scores = np.concatenate([true_scores, false_scores]).round(3)  # so that some are equal
    sizes = np.ptp(outlines, axis=1, keepdims=True)
    moved = outlines + sizes * (1 - true_scores[:, None, None]) * rng.uniform(-0.3, 0.3, (len(labels), 1, 2))
    shapes = _clip(np.concatenate([moved, false_outlines]))
    order = np.argsort(-scores, kind="stable")
    shapes = shapes[order]
    boxes = np.concatenate([shapes.min(axis=1), shapes.max(axis=1)], axis=1)
    return InstanceData(
        labels=torch.from_numpy(np.concatenate([labels, false_labels])[order]),
        scores=torch.from_numpy(scores[order].astype(np.float32)),
        bboxes=torch.from_numpy(boxes.astype(np.float32)),
        masks=[_encode(outline) for outline in shapes],
    )


def _encode(outline: np.ndarray) -> dict[str, Any]:
    rle = mask_api.frPyObjects([outline.ravel().tolist()], HEIGHT, WIDTH)[0]
    return dict(size=[HEIGHT, WIDTH], counts=rle["counts"].decode("ascii"))
