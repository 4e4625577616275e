"""Configure test-time augmentation: the pipeline that creates the views, and the model that merges them."""

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
    """Select the pipeline of the test split.

    Raises:
        ConfigError: the config has none.
    """
    steps = _test_dataset(config).get("pipeline") or config.get("test_pipeline")
    if not steps:
        raise ConfigError(
            f"config {config.filename}: has neither test_pipeline nor test_dataloader.dataset.pipeline, one is needed"
        )
    return steps


def tta_pipeline(config: Config) -> Sequence[Mapping[str, Any]]:
    """Select the pipeline that creates several views of an image.

    It is the config's `tta_pipeline`, in mmdet's form. Without one it is derived from the test pipeline with six views:
    at 1, 0.8 and 1.2 times the test size, each with and without a horizontal flip. The first view, in whose frame
    overlaps are measured, is the one of the test pipeline.

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
    """The config of the model that merges views: `tta_model` of the config, or the default, with `model` inside."""
    return {**(config.get("tta_model") or DEFAULT_MODEL), "module": model}


def use_tta(config: Config) -> None:
    """Change the test of a config to one with several views.

    Args:
        config: changed in place.

    Raises:
        ConfigError: as `tta_pipeline`.
    """
    _test_dataset(config).pipeline = tta_pipeline(config)
    config.model = tta_model(config, config.model)


def trained_model(model: nn.Module) -> nn.Module:
    """Unwrap the model whose weights are in checkpoints from wrappers for distributed training and for views."""
    while is_model_wrapper(model) or isinstance(model, MaskTTAModel):
        model = model.get_submodule("module")
    return model


def _test_dataset(config: Config) -> Any:
    """The innermost dataset of the test split, the one with the pipeline; an empty dict without any."""
    dataset = (config.get("test_dataloader") or {}).get("dataset") or {}
    while "pipeline" not in dataset and "dataset" in dataset:
        dataset = dataset["dataset"]
    return dataset


def _derived_pipeline(steps: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    resizes = [position for position, step in enumerate(steps) if _name(step) == "Resize"]
    # Without a Resize the views are resized just before they are packed.
    index = resizes[0] if resizes else len(steps) - 1
    resize = steps[index] if resizes else dict(type="mmdet.Resize", scale_factor=1.0, keep_ratio=True)
    rest = steps[index + 1 :] if resizes else steps[index:]
    flips = [dict(type="mmdet.RandomFlip", prob=probability) for probability in (0.0, 1.0)]
    alternatives = [[_scaled(resize, factor) for factor in SCALE_FACTORS], flips, *([step] for step in rest)]
    return [*steps[:index], dict(type="TestTimeAug", transforms=alternatives)]


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
