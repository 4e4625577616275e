"""Prediction by tiles in a config: `model.tiles`, and the pipelines that leave images at their size for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mmengine.config import Config, ConfigDict

from solo.errors import ConfigError
from solo.tiles import Tiles, choose_tiles


def configured_tiles(config: Config) -> Tiles | None:
    """The tiles of a config's model; None if it predicts whole images.

    Raises:
        ConfigError: a key is unknown, or a value is out of its bounds.
    """
    values = config.model.get("tiles")
    if values is None:
        return None
    try:
        return Tiles(**values)
    except TypeError as error:
        raise ConfigError(f"config key 'model.tiles': expected {', '.join(Tiles.__annotations__)}; {error}") from None


def use_tiles(
    config: Config,
    *,
    size: int | None = None,
    overlap: float | None = None,
    scale: float | Sequence[int] | None = None,
) -> Tiles | None:
    """Set the tiles of a config's model, and remove the Resize steps of its validation and test if there are any.

    Args:
        config: changed in place.
        size: see `choose_tiles`, as the others; without them the config's own tiles.

    Raises:
        ConfigError: as `choose_tiles` and `configured_tiles`.
    """
    configured = configured_tiles(config)
    tiles = choose_tiles(configured, size=size, overlap=overlap, scale=scale)
    if tiles != configured:
        config.model.tiles = None if tiles is None else ConfigDict(asdict(tiles))
    if tiles is not None:
        for split in ("val", "test"):
            dataset = (config.get(f"{split}_dataloader") or {}).get("dataset") or {}
            while "pipeline" not in dataset and "dataset" in dataset:
                dataset = dataset["dataset"]
            if "pipeline" in dataset:
                dataset["pipeline"] = without_resize(dataset["pipeline"])
    return tiles


def without_resize(steps: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The steps of a test pipeline for tiles, which are resized one by one: all but Resize."""
    return [step for step in steps if str(step["type"]).rpartition(".")[2] != "Resize"]
