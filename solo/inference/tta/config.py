"""Test-time augmentation from a config: the pipeline that makes the views, and the model that merges them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config
from mmengine.model import is_model_wrapper
from torch import nn

from solo.errors import ConfigError
from solo.inference.tta.model import MaskTTAModel

SCALE_FACTORS = (1.0, 0.8, 1.2)
DEFAULT_MODEL = dict(type="MaskTTAModel")


def single_view_pipeline(config: Config) -> Sequence[Mapping[str, Any]]:
    """The steps that images of the test split go through.

    Raises:
        ConfigError: the config states none.
    """
    steps = _test_dataset(config).get("pipeline") or config.get("test_pipeline")
    if not steps:
        raise ConfigError(
            f"config {config.filename}: has neither test_pipeline nor test_dataloader.dataset.pipeline, one is needed"
        )
    return steps


def tta_pipeline(config: Config) -> Sequence[Mapping[str, Any]]:
    """The steps that make several views of an image.

    They are the config's `tta_pipeline`, in mmdet's form. Where it has none they are its test pipeline with six views:
    at the size of the test, at 0.8 and at 1.2 of it, each as it is and flipped from left to right. The first view, in
    whose frame overlaps are measured, is that of the test.

    Raises:
        ConfigError: the config's views cannot be merged, or there is no test pipeline to make them from.
    """
    own = config.get("tta_pipeline")
    if own is None:
        return _derived_pipeline(single_view_pipeline(config))
    if not own or _name(own[-1]) != "TestTimeAug":
        raise ConfigError(f"config {config.filename}: the last step of tta_pipeline must be TestTimeAug")
    return own


def tta_model(config: Config, model: Mapping[str, Any]) -> dict[str, Any]:
    """The config of the model that merges views: the config's `tta_model`, or the default, around `model`."""
    return {**(config.get("tta_model") or DEFAULT_MODEL), "module": model}


def use_tta(config: Config) -> None:
    """Make the test of a config one of several views.

    Args:
        config: changed in place.

    Raises:
        ConfigError: as `tta_pipeline`.
    """
    _test_dataset(config).pipeline = tta_pipeline(config)
    config.model = tta_model(config, config.model)


def trained_model(model: nn.Module) -> nn.Module:
    """The model whose weights checkpoints hold, out of what spreads it over processes or merges its views."""
    while is_model_wrapper(model) or isinstance(model, MaskTTAModel):
        model = model.get_submodule("module")
    return model


def _test_dataset(config: Config) -> Any:
    """The innermost dataset of the test split, which has the pipeline; an empty dict without one."""
    dataset = (config.get("test_dataloader") or {}).get("dataset") or {}
    while "pipeline" not in dataset and "dataset" in dataset:
        dataset = dataset["dataset"]
    return dataset


def _derived_pipeline(steps: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    resizes = [index for index, step in enumerate(steps) if _name(step) == "Resize"]
    # Where images keep their size, they are resized just before they are packed.
    place = resizes[0] if resizes else len(steps) - 1
    resize = steps[place] if resizes else dict(type="mmdet.Resize", scale_factor=1.0, keep_ratio=True)
    rest = steps[place + 1 :] if resizes else steps[place:]
    flips = [dict(type="mmdet.RandomFlip", prob=probability) for probability in (0.0, 1.0)]
    alternatives = [[_scaled(resize, factor) for factor in SCALE_FACTORS], flips, *([step] for step in rest)]
    return [*steps[:place], dict(type="TestTimeAug", transforms=alternatives)]


def _scaled(resize: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """A resize step whose result is `factor` times as large."""
    scaled = dict(resize)
    if scaled.get("scale") is not None:
        sides = scaled["scale"]
        is_pair = isinstance(sides, Sequence)
        scaled["scale"] = tuple(round(side * factor) for side in sides) if is_pair else round(sides * factor)
    else:
        factors = scaled["scale_factor"]
        is_pair = isinstance(factors, Sequence)
        scaled["scale_factor"] = tuple(each * factor for each in factors) if is_pair else factors * factor
    return scaled


def _name(step: Mapping[str, Any]) -> str:
    return str(step["type"]).rpartition(".")[2]
