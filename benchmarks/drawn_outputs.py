"""Head outputs drawn for a measurement: a known number of candidates, whose masks are blobs as objects are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from solo.errors import ConfigError
from solo.models.grid import Grid
from solo.structures import SOLOv2Outputs

LOWEST_SCORE, HIGHEST_SCORE = 0.2, 0.95
BACKGROUND_LOGIT = -6.0
SMALLEST_RADIUS, LARGEST_RADIUS = 8.0, 60.0
"""Of an ellipse, pixels at stride 4. The smallest covers more pixels than any level's area filter wants."""
STEEPNESS = 3.0
NUM_WAVES, HIGHEST_FREQUENCY, WAVE_SHARE = 11, 8, 0.15
PARITIES = 4
KEPT_SIZES = 4


class DrawnOutputs:
    """What a head could have computed for an image, drawn from a seed: the same for every image of one size.

    A candidate is an ellipse with a wavy border: its kernel weighs mask features that are the powers of the
    coordinates, and some waves. Candidates are where points NMS keeps them, and their masks pass the area filter, so
    that their number is the one asked for. Few classes or cells may have no room for it (`num_candidates`).

    Args:
        model: the `model` of a config.
        num_candidates: cells with a class score above the threshold.
        seed: of everything drawn.

    Attributes:
        num_candidates: how many there are.

    Raises:
        ConfigError: the model's mask features have too few channels to draw with.
    """

    def __init__(self, model: Mapping[str, Any], *, num_candidates: int, seed: int = 0) -> None:
        self._channels = model["mask_feature"]["out_channels"]
        if self._channels < 5:
            raise ConfigError(f"model.mask_feature.out_channels {self._channels}: drawn outputs need at least 5")
        self._grid = Grid(**model["grid"])
        self._num_classes = model["num_classes"]
        self._kernel_area = model.get("kernel_size", 1) ** 2
        self._generator = torch.Generator().manual_seed(seed)
        self._cells, self._labels = self._places(num_candidates)
        self.num_candidates = len(self._cells)
        self._known: dict[tuple[int, int], SOLOv2Outputs] = {}
        count, waves = self.num_candidates, max(0, min(NUM_WAVES, self._channels - 5))
        self._scores = torch.linspace(LOWEST_SCORE, HIGHEST_SCORE, count)[self._shuffled(count)]
        self._centers, self._radii = self._uniform(count, 2) * 2 - 1, self._uniform(count, 2)
        self._wave_weights = STEEPNESS * WAVE_SHARE * (self._uniform(count, waves) * 2 - 1)
        self._waves = self._uniform(waves, 3)

    def for_size(self, height: int, width: int) -> SOLOv2Outputs:
        """Outputs of one image, float32 on the CPU, whose mask features are (1, E, height, width)."""
        if (height, width) not in self._known:
            if len(self._known) == KEPT_SIZES:
                del self._known[next(iter(self._known))]
            self._known[height, width] = self._draw(height, width)
        return self._known[height, width]

    def _draw(self, height: int, width: int) -> SOLOv2Outputs:
        count = self.num_candidates
        cls_logits = torch.full((1, self._grid.num_cells, self._num_classes), BACKGROUND_LOGIT)
        cls_logits[0, self._cells, self._labels] = self._scores.logit()
        # Candidates alone have a mask; the others' kernels are never used.
        kernels = torch.zeros(1, self._grid.num_cells, self._channels, self._kernel_area)
        weights = self._weights(height, width)
        kernels[0, self._cells, : weights.shape[1], self._kernel_area // 2] = weights
        assert len(weights) == count
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

    def _places(self, wanted: int) -> tuple[Tensor, Tensor]:
        """Cells and their classes, of which no two are behind each other for points NMS: at most so many as wanted.

        Neighbours have classes of their own, by the parity of row and column; with fewer than four classes every
        second row and column is left empty.
        """
        sides = self._grid.num_grids
        parity = torch.cat([self._parities(side) for side in sides])
        cells = torch.arange(self._grid.num_cells)
        groups = self._num_classes // PARITIES
        if groups == 0:
            cells = cells[parity == 0]
        cells = cells[self._shuffled(len(cells))[:wanted]].sort().values
        # As in photographs a few classes make up most of the objects.
        popularity = 1 / torch.arange(1, max(groups, 1) + 1)
        drawn = popularity.multinomial(len(cells), replacement=True, generator=self._generator)
        return cells, (PARITIES * drawn + parity[cells]) if groups else torch.zeros_like(cells)

    @staticmethod
    def _parities(side: int) -> Tensor:
        odd = torch.arange(side) % 2
        return (2 * odd[:, None] + odd[None]).flatten()

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self._generator)

    def _shuffled(self, count: int) -> Tensor:
        return torch.randperm(count, generator=self._generator)
