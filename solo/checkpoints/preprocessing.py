"""Whether images reach the network as its weights expect them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config

from solo.checkpoints.dialects.dialect import Dialect, Preprocessing
from solo.errors import CheckpointError

TOLERANCE = 1e-3


def preprocessing_of(config: Config) -> Preprocessing:
    """What the config's `model.data_preprocessor` does to an image."""
    options: dict[str, Any] = config.model.get("data_preprocessor") or {}
    order = "RGB" if options.get("bgr_to_rgb", True) else "BGR"
    return Preprocessing(order, _triple(options.get("mean", (0, 0, 0))), _triple(options.get("std", (1, 1, 1))))


def convention_problems(config: Config, dialect: Dialect) -> list[str]:
    """Compare channel order, normalisation and the backbone's style with what the weights of a dialect need.

    Args:
        config: config of the model.
        dialect: whose weights are converted.

    Returns:
        One line for each setting that differs: what the weights need and what the config has.
    """
    needed, found = dialect.preprocessing, preprocessing_of(config)
    style = config.model["backbone"].get("style", "pytorch")
    wanted_and_found = {
        "model.data_preprocessor.bgr_to_rgb": (needed.channel_order == "RGB", found.channel_order == "RGB"),
        "model.data_preprocessor.mean": (needed.mean, found.mean),
        "model.data_preprocessor.std": (needed.std, found.std),
        "model.backbone.style": (dialect.backbone_style, style),
    }
    return [
        f"{key}: the weights need {wanted}, the config has {came}"
        for key, (wanted, came) in wanted_and_found.items()
        if not _equal(wanted, came)
    ]


def check_preprocessing(checkpoint: Mapping[str, Any], config: Config, *, source: str) -> None:
    """Compare what a checkpoint says it needs with what the config does; most say nothing.

    Args:
        checkpoint: what `load_checkpoint` returned.
        config: config of the model.
        source: name of the checkpoint in the error.

    Raises:
        CheckpointError: they differ.
    """
    stated = (checkpoint.get("meta") or {}).get("preprocessing")
    if not stated:
        return
    needed, found = Preprocessing(**stated), preprocessing_of(config)
    if not all(_equal(one, other) for one, other in zip(needed, found, strict=True)):
        raise CheckpointError(
            f"{source} needs {_text(needed)}; model.data_preprocessor of the config has {_text(found)}"
        )


def _text(preprocessing: Preprocessing) -> str:
    order, mean, std = preprocessing
    return f"{order} images with mean {list(mean)} and std {list(std)}"


def _triple(values: Sequence[float]) -> tuple[float, float, float]:
    first, second, third = map(float, values)
    return first, second, third


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, tuple):
        return all(math.isclose(a, b, rel_tol=TOLERANCE) for a, b in zip(one, other, strict=True))
    return bool(one == other)
