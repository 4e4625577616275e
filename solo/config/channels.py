"""The number of channels of an image, which a config states in several places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from solo.errors import ConfigError

_LOADERS = ("LoadImage", "solo.LoadImage")


def check_channels(config: Config) -> None:
    """Check that pipelines, preprocessor and backbone have the same number of channels.

    Raises:
        ConfigError: they differ; the message has all of them.
    """
    model = config.get("model") or {}
    preprocessor, backbone = model.get("data_preprocessor") or {}, model.get("backbone") or {}
    if preprocessor.get("type") not in ("ImagePreprocessor", "solo.ImagePreprocessor"):
        return
    found = {
        "model.data_preprocessor.mean": len(preprocessor.get("mean") or ()),
        "model.backbone.in_channels": backbone.get("in_channels", 3),
        **dict(_loaded_channels(config)),
    }
    if len(set(found.values())) > 1:
        stated = ", ".join(f"{name} {count}" for name, count in found.items())
        raise ConfigError(f"config {config.filename}: all must have the same number of channels, got {stated}")


def _loaded_channels(config: Config) -> Iterator[tuple[str, int]]:
    """Name and channels of each pipeline's LoadImage."""
    for split in ("train", "val", "test"):
        dataset = (config.get(f"{split}_dataloader") or {}).get("dataset") or {}
        for number, pipeline in enumerate(_pipelines(dataset)):
            for step in pipeline:
                if isinstance(step, Mapping) and step.get("type") in _LOADERS:
                    suffix = f" {number + 1}" if number else ""
                    yield f"LoadImage of the {split} pipeline{suffix}", step.get("channels", 3)


def _pipelines(dataset: Mapping[str, Any]) -> Iterator[Any]:
    """The pipelines of a dataset, or of those that it wraps."""
    if dataset.get("pipeline"):
        yield dataset["pipeline"]
    inner = dataset.get("datasets") or ([dataset["dataset"]] if "dataset" in dataset else [])
    for each in inner:
        yield from _pipelines(each)
