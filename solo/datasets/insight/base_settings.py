"""What a config says about sizes, grid and limits, read from the objects and pipelines that it builds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose

from solo.datasets.insight.input_plan import SIDE_DIVISOR, InputPlan
from solo.datasets.insight.object_losses import Limits
from solo.errors import ConfigError
from solo.models.assigner import GridAssigner
from solo.models.grid import Grid
from solo.registry import TASK_UTILS, TRANSFORMS

_WITHOUT_IMAGES = ("LoadImage", "LoadInstances", "PackSample", "CopyPaste")
_DEFAULT_MAX_DETS = 100  # of `CocoMaskMetric`
_PASSES = 4


class BaseSettings(NamedTuple):
    """The settings of a config that the tuner changes, or that bound what it may propose."""

    plan: InputPlan  # of its tests
    train_pixels: float  # mean pixels of a training input, padded
    test_pixels: float  # likewise in a test
    grid: Grid
    limits: Limits
    assigner_options: dict[str, Any]

    def assigner(self, grid: Grid) -> GridAssigner:
        """The config's assigner with some grid; any label is accepted."""
        options = {**self.assigner_options, "grid": grid, "num_classes": np.iinfo(np.int64).max}
        assigner: GridAssigner = TASK_UTILS.build(options)
        return assigner


def read_settings(config: Config, sizes: Sequence[tuple[int, int]]) -> BaseSettings:
    """Read the settings of a complete config.

    Args:
        config: A config with a model and data.
        sizes: (height, width) of some images of the data, which decide what an input of the config costs.

    Raises:
        ConfigError: A part is missing.
    """
    for key in ("model", "train_dataloader", "test_dataloader"):
        if config.get(key) is None:
            raise ConfigError(f"config {config.filename} has no {key}; the tuner needs a complete config")
    model = config.model
    grid = Grid(**model.grid)
    post = TASK_UTILS.build({**model.postprocess, "grid": grid, "nms": TASK_UTILS.build(dict(model.postprocess.nms))})
    evaluator = config.get("val_evaluator") or {}
    max_dets = evaluator.get("max_dets", _DEFAULT_MAX_DETS) if isinstance(evaluator, Mapping) else _DEFAULT_MAX_DETS
    test_pipeline = config.test_dataloader.dataset.pipeline
    return BaseSettings(
        plan=InputPlan(scale=_scale_of(test_pipeline)),
        train_pixels=_mean_pixels(config.train_dataloader.dataset.pipeline, sizes),
        test_pixels=_mean_pixels(test_pipeline, sizes),
        grid=grid,
        limits=Limits(post.min_area_factor, post.nms_pre, post.max_per_img, max_dets),
        assigner_options=dict(model.assigner),
    )


def walk_steps(pipeline: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """The configs of all steps of a pipeline, those within other steps too."""
    for step in pipeline:
        if isinstance(step, Mapping):
            yield dict(step)
            for value in step.values():
                if isinstance(value, (list, tuple)):
                    yield from walk_steps(value)
        elif isinstance(step, (list, tuple)):
            yield from walk_steps(step)


def step_name(step: Mapping[str, Any]) -> str:
    """Class of a step without its scope."""
    return str(step.get("type", "")).rpartition(".")[2]


def _scale_of(pipeline: Sequence[Any]) -> tuple[int, int] | None:
    for step in walk_steps(pipeline):
        scale = step.get("scale")
        if step_name(step) == "Resize" and isinstance(scale, (list, tuple)):
            return int(max(scale)), int(min(scale))
    return None


def _mean_pixels(pipeline: Sequence[Any], sizes: Sequence[tuple[int, int]]) -> float:
    """Mean pixels of the padded inputs that a pipeline makes of blank images of some sizes."""
    steps = [step for step in pipeline if step_name(step) not in _WITHOUT_IMAGES]
    transforms = Compose([TRANSFORMS.build(step) for step in steps])
    state = np.random.get_state()
    np.random.seed(0)  # as the transforms sample from it
    try:
        areas = [_padded_area(transforms, size) for size in sizes for _ in range(_PASSES)]
    finally:
        np.random.set_state(state)
    return float(np.mean(areas))


def _padded_area(transforms: Compose, size: tuple[int, int]) -> int:
    """Pixels of the padded result of one blank image of (height, width)."""
    from mmdet.structures.bbox import HorizontalBoxes  # see `LoadInstances`

    sample = dict(
        img=np.zeros((*size, 3), np.uint8),
        img_shape=size,
        ori_shape=size,
        gt_bboxes=HorizontalBoxes(np.array([[0, 0, size[1], size[0]]], np.float32)),
        gt_bboxes_labels=np.zeros(1, np.int64),
        gt_ignore_flags=np.zeros(1, np.bool_),
    )
    result = transforms(sample)
    sides = size if result is None else result["img"].shape[:2]
    return math.prod(side + -side % SIDE_DIVISOR for side in sides)
