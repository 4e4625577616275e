"""Compare weights with configs: architecture (read from the shapes), normalisation of images, style of the backbone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from solo.checkpoints.dialects import Dialect, Preprocessing
from solo.checkpoints.state_dict import BATCH_COUNTER
from solo.config import load_config
from solo.errors import CheckpointError, UserError
from solo.registry import MODELS, SCOPE

RESNETS: dict[tuple[tuple[int, ...], bool], str] = {
    ((2, 2, 2, 2), False): "ResNet-18",
    ((3, 4, 6, 3), False): "ResNet-34",
    ((3, 4, 6, 3), True): "ResNet-50",
    ((3, 4, 23, 3), True): "ResNet-101",
    ((3, 8, 36, 3), True): "ResNet-152",
}
# By the number of values predicted for each tap of a kernel: two coordinates, and a modulation in the second version.
DEFORMABLE = {2: "DCN (v1)", 3: "DCNv2"}
RELATIVE_TOLERANCE = 1e-3
Shapes = Mapping[str, Tensor]
"""A state dict of which names and shapes are read; it may be on the meta device."""


def model_on_meta(config: Config) -> nn.Module:
    """Build the model of a config on the meta device: names, shapes and dtypes without memory.

    Raises:
        UserError: the model cannot be built.
    """
    init_default_scope(config.get("default_scope") or SCOPE)
    options = {**config.model}
    if "backbone" in options:
        options["backbone"] = {**options["backbone"], "init_cfg": None}
    with torch.device("meta"):
        return MODELS.build(options)


def describe(weights: Shapes) -> dict[str, str]:
    """Describe a model by its tensors under our names; absent parts are left out."""
    convs = _count(weights, r"head\.category_tower\.(\d+)\.")
    facts = {
        "backbone": _backbone(weights),
        "deformable backbone": _deformable(weights, r"backbone\.(layer\d+)\.\d+\.conv2\."),
        "towers": f"{convs} x {_channels(weights, 'head.category_tower.0.norm.weight')}" if convs else "",
        "masks": _masks(weights),
        "deformable towers": _deformable(weights, r"head\.\w+_tower\.(\d+)\.conv\."),
        "deformable mask features": _deformable(weights, r"(mask_feature)\..*conv\."),
        "classes": _channels(weights, "head.category_predictor.weight"),
        "mask features": _channels(weights, "mask_feature.predictor.conv.weight"),
        "dynamic kernel": _channels(weights, "head.kernel_predictor.weight"),
    }
    return {name: fact for name, fact in facts.items() if fact}


def differences(weights: Shapes, model: Shapes) -> list[str]:
    """Return one line for each part of the architecture in which weights and model differ."""
    theirs, ours = describe(weights), describe(model)
    names = [name for name in {**theirs, **ours} if theirs.get(name) != ours.get(name)]
    return [
        f"{name}: {theirs.get(name, 'none')} in the weights, {ours.get(name, 'none')} in the config" for name in names
    ]


def fitting_configs(weights: Shapes, configs: Iterable[Path], *, dialect: Dialect) -> list[Path]:
    """Select the configs whose model has exactly these names and shapes, and the normalisation of the dialect.

    Configs that cannot be read or built are skipped.
    """
    wanted = _shapes(weights)
    return [path for path in configs if _fits(path, wanted, dialect)]


def shipped_configs(config: Path) -> list[Path]:
    """List all configs of the folder `configs` that contains this one."""
    folder = next((parent for parent in config.resolve().parents if parent.name == "configs"), None)
    return sorted(path for path in folder.rglob("*.py") if "_base_" not in path.parts) if folder else []


def read_preprocessing(config: Config) -> Preprocessing:
    """Read what `model.data_preprocessor` of a config does to an image."""
    options: dict[str, Any] = config.model.get("data_preprocessor") or {}
    order = "RGB" if options.get("bgr_to_rgb", True) else "BGR"
    return Preprocessing(order, _floats(options.get("mean", (0, 0, 0))), _floats(options.get("std", (1, 1, 1))))


def compare_conventions(config: Config, dialect: Dialect) -> list[str]:
    """Compare channel order, normalisation and backbone style of a config with those of a dialect's models.

    Returns:
        One line for each setting that differs: what the weights need and what the config has.
    """
    style, needed = config.model["backbone"].get("style", "pytorch"), dialect.backbone_style
    problem = f"model.backbone.style: the weights need {needed}, the config has {style}"
    return _compare_preprocessing(dialect.preprocessing, config) + ([problem] if style != needed else [])


def check_preprocessing(checkpoint: Mapping[str, Any], config: Config, *, source: str) -> None:
    """Compare the preprocessing that a checkpoint records with that of the config; most record none.

    Raises:
        CheckpointError: they differ, or the record is malformed.
    """
    recorded = (checkpoint.get("meta") or {}).get("preprocessing")
    if not recorded:
        return
    try:
        needed = Preprocessing(recorded["channel_order"], _floats(recorded["mean"]), _floats(recorded["std"]))
    except (KeyError, TypeError, ValueError):
        expected = "channel_order, mean and std"
        raise CheckpointError(f"{source}: expected {expected} in meta.preprocessing, found {recorded!r:.80}") from None
    problems = _compare_preprocessing(needed, config)
    if problems:
        raise CheckpointError("\n  ".join([f"{source} needs images that are normalised otherwise:", *problems]))


def _compare_preprocessing(needed: Preprocessing, config: Config) -> list[str]:
    sides = [(one.channel_order == "RGB", one.mean, one.std) for one in (needed, read_preprocessing(config))]
    return [
        f"model.data_preprocessor.{key}: the weights need {expected}, the config has {value}"
        for key, expected, value in zip(("bgr_to_rgb", "mean", "std"), *sides, strict=True)
        if np.shape(expected) != np.shape(value) or not np.allclose(expected, value, rtol=RELATIVE_TOLERANCE, atol=0)
    ]


def _floats(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(map(float, values))


def _shapes(weights: Shapes) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in weights.items() if not name.endswith(BATCH_COUNTER)}


def _fits(path: Path, wanted: dict[str, torch.Size], dialect: Dialect) -> bool:
    try:
        config = load_config(path)
        return not compare_conventions(config, dialect) and _shapes(model_on_meta(config).state_dict()) == wanted
    except (UserError, ImportError, ValueError, TypeError, KeyError):
        return False


def _backbone(weights: Shapes) -> str:
    blocks = [_count(weights, rf"backbone\.layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4)]
    bottleneck = "backbone.layer1.0.conv3.weight" in weights
    if not any(blocks):
        return ""
    name = RESNETS.get((tuple(blocks), bottleneck), f"residual blocks {blocks}")
    middle = weights.get("backbone.layer1.0.conv2.weight")
    if bottleneck and middle is not None and middle.shape[0] != middle.shape[1]:
        name += f", {middle.shape[0] // middle.shape[1]} groups of {middle.shape[1]}"
    stem = "deep stem (vd)" if "backbone.stem.0.weight" in weights else "7x7 stem"
    top = _channels(weights, "neck.lateral_convs.3.conv.weight", axis=1) or "?"
    return f"{name}, {stem}, {top} channels at the top"


def _masks(weights: Shapes) -> str:
    if "head.mask_predictors.0.weight" in weights:
        return "one channel per cell (SOLO)"
    if "head.mask_predictors_x.0.weight" in weights:
        shared = "head.mask_tower.0.conv.weight" in weights
        return f"columns and rows (Decoupled SOLO), {'one tower' if shared else 'one tower each'}"
    return "dynamic kernels (SOLOv2)" if "head.kernel_predictor.weight" in weights else ""


def _deformable(weights: Shapes, pattern: str) -> str:
    """List the parts with deformable convolutions by version, with or without bias."""
    versions: dict[str, str] = {}
    for name, offsets in weights.items():
        match = re.match(pattern + r"conv_offset\.weight$", name)
        if match:
            prefix = name.removesuffix("conv_offset.weight")
            taps = weights[f"{prefix}weight"].shape[2:].numel() if f"{prefix}weight" in weights else 9
            bias = " with bias" if f"{prefix}bias" in weights else ""
            versions[match[1]] = DEFORMABLE.get(offsets.shape[0] // taps, f"{offsets.shape[0]} offsets") + bias
    parts = {version: sorted(part for part in versions if versions[part] == version) for version in versions.values()}
    return "; ".join(f"{version} in {', '.join(names)}" for version, names in parts.items())


def _count(weights: Shapes, pattern: str) -> int:
    return len({match[1] for name in weights if (match := re.match(pattern, name))})


def _channels(weights: Shapes, name: str, axis: int = 0) -> str:
    tensor: Any = weights.get(name)
    return str(tensor.shape[axis]) if tensor is not None and tensor.ndim > axis else ""
