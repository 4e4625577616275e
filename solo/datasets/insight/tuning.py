"""Proposes input size, crops, grid and limits for a data set, by what the masks, cells and limits of each size lose."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from solo.datasets.insight.base_settings import BaseSettings
from solo.datasets.insight.input_plan import SIDE_DIVISOR, InputPlan
from solo.datasets.insight.object_losses import COLLIDED, FILTERED, Limits, ObjectLosses, find_losses
from solo.datasets.insight.sized_objects import OrdinaryObjects, SizedObjects, resize_objects
from solo.datasets.insight.source import AnnotationSource
from solo.errors import DataError
from solo.models.grid import Grid

MAX_ENLARGEMENT = 2.0
"""Images are enlarged at most so often: interpolated pixels show nothing new, and the same crop sees less of them."""
TOLERATED_COLLISIONS = 0.005
"""Share of the objects without a cell below which finer grids are not tried."""
TOLERATED_LOSS = 0.01
"""Differences of reachable AP below this decide nothing, and a smaller share of objects changes no setting."""
IN_PIECES = 0.05
"""An object is in pieces if at least this share of its pixels lies outside of its largest connected component."""
TOLERATED_PIECES = 0.05
"""Share of the objects in pieces up to which the largest piece of a mask alone is better (docs/recipes.md)."""
FIT_QUANTILE, FIT_SHARE = 0.95, 0.5
"""So many of the objects have to be at most this share of a crop's side, or random crops would cut most of them."""
_CELL_FACTORS = (1.0, 1.4, 2.0, 2.8, 4.0)
_SIZE_STEPS = tuple(2 ** (step / 2) for step in range(-2, 9))
_USED_LEVEL = 0.05  # share of the objects from which on a level gets more cells
_SMALL_AREA_FACTOR = 0.25
_SPARE_DETECTIONS, _CANDIDATES_PER_DETECTION = 1.25, 2.5


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a proposal may cost, relative to the base config, in pixels of network input an image.

    Attributes:
        train: In training, where a crop costs its own pixels.
        test: In a test, where every tile costs.
    """

    train: float = 1.0
    test: float = 4.0

    def __post_init__(self) -> None:
        if not (0 < self.train < math.inf and 0 < self.test < math.inf):
            raise DataError(f"budgets must be positive numbers, not {self.train} and {self.test}")


@dataclass(frozen=True, kw_only=True)
class TuningOption:
    """One input size with the grid that fits it, and what it loses and costs."""

    plan: InputPlan
    grid: Grid
    limits: Limits
    losses: ObjectLosses
    train_cost: float  # relative to the base
    test_cost: float
    refusal: str = ""  # why it cannot be proposed

    @property
    def reachable_ap(self) -> float:
        """See `ObjectLosses.reachable_ap`."""
        return self.losses.reachable_ap


@dataclass(frozen=True, kw_only=True)
class TuningResult:
    """The base config on the data, the sizes looked at, and the chosen one of them."""

    base: TuningOption
    options: list[TuningOption]
    chosen: TuningOption
    num_images: int  # that were looked at
    num_objects: int
    most_objects: int  # in one image of the whole data set
    in_pieces: float  # share of the objects

    @property
    def largest_component(self) -> bool:
        """Whether it is proposed to drop all but the largest piece of a predicted mask."""
        return self.in_pieces <= TOLERATED_PIECES


class _SampledImage(NamedTuple):
    size: tuple[int, int]  # (height, width)
    objects: OrdinaryObjects


def tune(
    source: AnnotationSource, settings: BaseSettings, *, budget: Budget, num_images: int = 100, seed: int = 0
) -> TuningResult:
    """Look at the data at several sizes, and choose one.

    The size with the highest reachable AP within the budget is chosen, the cheapest of those within 0.01 of it.

    Args:
        source: The annotations.
        settings: Those of the base config.
        budget: What the proposal may cost.
        num_images: How many images, sampled from those with objects, are looked at; limits count all images.
        seed: Of the sample.

    Raises:
        DataError: There is no object.
    """
    images = [
        _SampledImage((image.annotated.height, image.annotated.width), OrdinaryObjects.from_annotated(image.annotated))
        for image in source.sample(num_images, seed=seed)
    ]
    if not images:
        raise DataError(f"{source.path} has no usable object to tune for")
    counts = [image.instances.ignore_flags.count(0) for image in source.checked.annotated_images()]
    tuner = _Tuner(images, settings, budget, most_objects=max(counts))
    base = tuner.evaluate_base()
    options = [tuner.evaluate(plan) for plan in tuner.plans()]
    return TuningResult(
        base=base,
        options=options,
        chosen=_choose(base, options),
        num_images=len(images),
        num_objects=len(base.losses.reasons),
        most_objects=max(counts),
        in_pieces=float((np.concatenate([image.objects.apart for image in images]) >= IN_PIECES).mean()),
    )


def _choose(base: TuningOption, options: Sequence[TuningOption]) -> TuningOption:
    allowed = [option for option in options if not option.refusal] or [base]
    best = max(option.reachable_ap for option in allowed)
    good = [option for option in allowed if option.reachable_ap >= best - TOLERATED_LOSS]
    return min(good, key=lambda option: (option.test_cost, option.train_cost, -option.reachable_ap))


class _Tuner:
    """Evaluates input sizes on some images."""

    def __init__(
        self, images: Sequence[_SampledImage], settings: BaseSettings, budget: Budget, *, most_objects: int
    ) -> None:
        self._images, self._settings, self._budget, self._most_objects = images, settings, budget, most_objects

    def plans(self) -> Iterator[InputPlan]:
        """Sizes around that of the base, whole images where the training budget allows it, else crops."""
        sizes = np.array([image.size for image in self._images])
        base = self._settings.plan.scale or (int(sizes.max()), int(sizes.min(axis=1).max()))
        largest = float(np.median(sizes.max(axis=1))) * MAX_ENLARGEMENT
        pixels = self._settings.train_pixels * self._budget.train
        tile = max(int(math.sqrt(pixels)) // SIDE_DIVISOR, 2) * SIDE_DIVISOR
        sides = sorted({_rounded(min(base[0] * step, largest)) for step in _SIZE_STEPS})
        for side in sides:
            scale = side, max(_rounded(side * base[1] / base[0]), SIDE_DIVISOR)
            whole = InputPlan(scale=scale)
            is_cheap = self._cost(whole, "train") <= self._budget.train * (1 + TOLERATED_LOSS)
            yield whole if is_cheap else InputPlan(scale=scale, tile=tile)

    def evaluate_base(self) -> TuningOption:
        """What the base config loses."""
        settings = self._settings
        objects = self._resize(settings.plan)
        losses = self._losses(settings.plan, objects, settings.grid, settings.limits)
        return TuningOption(
            plan=settings.plan,
            grid=settings.grid,
            limits=settings.limits,
            losses=losses,
            train_cost=1.0,
            test_cost=1.0,
        )

    def evaluate(self, plan: InputPlan) -> TuningOption:
        """Fit grid and limits to a size, and say whether it can be proposed."""
        objects = self._resize(plan)
        limits = self._fit_limits()
        grid, losses = self._fit_grid(plan, objects, limits)
        if losses.share(FILTERED) > TOLERATED_LOSS and limits.min_area_factor > _SMALL_AREA_FACTOR:
            limits = limits._replace(min_area_factor=_SMALL_AREA_FACTOR)
            losses = self._losses(plan, objects, grid, limits)
        return TuningOption(
            plan=plan,
            grid=grid,
            limits=limits,
            losses=losses,
            train_cost=self._cost(plan, "train"),
            test_cost=self._cost(plan, "test"),
            refusal=self._refuse(plan, objects),
        )

    def _refuse(self, plan: InputPlan, objects: Sequence[tuple[tuple[int, int], SizedObjects]]) -> str:
        cost = self._cost(plan, "test")
        if cost > self._budget.test:
            return f"a test costs {cost:.1f}"
        if plan.tile is None:
            return ""
        sides = np.concatenate([(each.boxes[:, 2:] - each.boxes[:, :2]).max(axis=1) for _, each in objects])
        side = float(np.quantile(sides, FIT_QUANTILE))
        return f"objects of {side:.0f} px in crops of {plan.tile}" if side > plan.tile * FIT_SHARE else ""

    def _fit_limits(self) -> Limits:
        limits = self._settings.limits
        wanted = self._most_objects * _SPARE_DETECTIONS
        detections = limits.max_per_img if limits.max_per_img >= wanted else math.ceil(wanted / 100) * 100
        return limits._replace(
            max_per_img=detections,
            nms_pre=max(limits.nms_pre, math.ceil(detections * _CANDIDATES_PER_DETECTION)),
            max_dets=max(limits.max_dets, detections),
        )

    def _fit_grid(
        self, plan: InputPlan, objects: Sequence[tuple[tuple[int, int], SizedObjects]], limits: Limits
    ) -> tuple[Grid, ObjectLosses]:
        """The coarsest grid with few collisions, or the finest that the feature maps hold."""
        base = self._settings.grid
        scales = np.concatenate([_scales(each) for _, each in objects])
        ranges = [list(limits) for limits in base.scale_ranges]
        ranges[0][0], ranges[-1][1] = min(ranges[0][0], scales.min()), max(ranges[-1][1], math.ceil(scales.max()))
        shares = [float(((scales >= low) & (scales <= high)).mean()) for low, high in ranges]
        side = min(min(plan.input_size(*size)) for size, _ in objects)
        tried: list[tuple[int, ...]] = []
        for factor in _CELL_FACTORS:
            num_grids = tuple(
                cells if share < _USED_LEVEL else max(cells, min(round(cells * factor), side // stride))
                for cells, stride, share in zip(base.num_grids, base.strides, shares, strict=True)
            )
            if num_grids in tried:
                continue
            tried.append(num_grids)
            grid = Grid(num_grids=num_grids, strides=base.strides, scale_ranges=ranges)
            losses = self._losses(plan, objects, grid, limits)
            if losses.share(COLLIDED) <= TOLERATED_COLLISIONS:
                break
        return grid, losses

    def _losses(
        self, plan: InputPlan, objects: Sequence[tuple[tuple[int, int], SizedObjects]], grid: Grid, limits: Limits
    ) -> ObjectLosses:
        return find_losses(objects, plan=plan, assigner=self._settings.assigner(grid), limits=limits)

    def _resize(self, plan: InputPlan) -> list[tuple[tuple[int, int], SizedObjects]]:
        return [(image.size, resize_objects(image.objects, plan.resized(*image.size))) for image in self._images]

    def _cost(self, plan: InputPlan, kind: Literal["train", "test"]) -> float:
        """Pixels of network input an image, relative to the base. Whole images are varied in training as the base's."""
        settings, sizes = self._settings, [image.size for image in self._images]
        if kind == "train" and plan.tile is not None:
            return float(np.mean([plan.train_pixels(*size) for size in sizes])) / settings.train_pixels
        return float(np.mean([plan.test_pixels(*size) for size in sizes])) / settings.test_pixels


def _scales(objects: SizedObjects) -> np.ndarray:
    """sqrt(box area) of each object, which `scale_ranges` are compared with: (N,)."""
    return np.sqrt((objects.boxes[:, 2:] - objects.boxes[:, :2]).prod(axis=1))


def _rounded(side: float) -> int:
    return max(1, round(side / SIDE_DIVISOR)) * SIDE_DIVISOR
