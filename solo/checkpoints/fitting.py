"""What a set of weights is made for, read from its shapes, and which config has that."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from solo.checkpoints.conversion import COUNTER
from solo.checkpoints.dialects import Dialect
from solo.checkpoints.preprocessing import convention_problems
from solo.config import load_config
from solo.errors import UserError
from solo.registry import MODELS, SCOPE

RESNETS: dict[tuple[tuple[int, ...], bool], str] = {
    ((2, 2, 2, 2), False): "ResNet-18",
    ((3, 4, 6, 3), False): "ResNet-34",
    ((3, 4, 6, 3), True): "ResNet-50",
    ((3, 4, 23, 3), True): "ResNet-101",
    ((3, 8, 36, 3), True): "ResNet-152",
}
# Values predicted for each tap of a kernel: two coordinates, and a modulation in the second version.
DEFORMABLE = {2: "DCN (v1)", 3: "DCNv2"}
Shapes = Mapping[str, Tensor]


def model_on_meta(config: Config) -> nn.Module:
    """The model of a config without its numbers: names, shapes and types, in no time and memory.

    Raises:
        UserError: the model cannot be built.
    """
    init_default_scope(config.get("default_scope") or SCOPE)
    options = {**config.model}
    options["backbone"] = {**options["backbone"], "init_cfg": None}
    with torch.device("meta"):
        return MODELS.build(options)


def describe(weights: Shapes) -> dict[str, str]:
    """What can be told of a model from its tensors under our names; parts that are not there are left out."""
    facts = {
        "backbone": _backbone(weights),
        "deformable backbone": _deformable(weights, r"backbone\.(layer\d+)\.\d+\.conv2\."),
        "towers": _towers(weights),
        "masks": _masks(weights),
        "deformable towers": _deformable(weights, r"head\.\w+_tower\.(\d+)\.conv\."),
        "deformable mask features": _deformable(weights, r"(mask_feature)\..*conv\."),
        "classes": _channels(weights, "head.category_predictor.weight"),
        "mask features": _channels(weights, "mask_feature.predictor.conv.weight"),
        "dynamic kernel": _channels(weights, "head.kernel_predictor.weight"),
    }
    return {name: fact for name, fact in facts.items() if fact}


def differences(weights: Shapes, model: Shapes) -> list[str]:
    """One line for each fact in which weights and model differ."""
    theirs, ours = describe(weights), describe(model)
    names = [name for name in {**theirs, **ours} if theirs.get(name) != ours.get(name)]
    return [
        f"{name}: {theirs.get(name, 'none')} in the weights, {ours.get(name, 'none')} in the config" for name in names
    ]


def fitting_configs(weights: Shapes, configs: Iterable[Path], *, dialect: Dialect) -> list[Path]:
    """The configs whose model has exactly these names and shapes, and takes images as the dialect's models do.

    A config that cannot be read or built fits nothing.
    """
    wanted = _shapes(weights)
    return [path for path in configs if _fits(path, wanted, dialect)]


def shipped_configs(config: Path) -> list[Path]:
    """All configs of the folder `configs` that holds this one."""
    folder = next((parent for parent in config.resolve().parents if parent.name == "configs"), None)
    return sorted(path for path in folder.rglob("*.py") if "_base_" not in path.parts) if folder else []


def _shapes(weights: Shapes) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in weights.items() if not name.endswith(COUNTER)}


def _fits(path: Path, wanted: dict[str, torch.Size], dialect: Dialect) -> bool:
    try:
        config = load_config(path)
        return not convention_problems(config, dialect) and _shapes(model_on_meta(config).state_dict()) == wanted
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
    return (
        f"{name}, {stem}, {_channels(weights, 'neck.lateral_convs.3.conv.weight', axis=1) or '?'} channels at the top"
    )


def _towers(weights: Shapes) -> str:
    convs = _count(weights, r"head\.category_tower\.(\d+)\.")
    return f"{convs} x {_channels(weights, 'head.category_tower.0.norm.weight')}" if convs else ""


def _masks(weights: Shapes) -> str:
    """What the head makes masks from."""
    if "head.mask_predictors.0.weight" in weights:
        return "a channel a cell (SOLO)"
    if "head.mask_predictors_x.0.weight" in weights:
        shared = "head.mask_tower.0.conv.weight" in weights
        return f"columns and rows (Decoupled SOLO), {'one tower' if shared else 'a tower each'}"
    return "dynamic kernels (SOLOv2)" if "head.kernel_predictor.weight" in weights else ""


def _deformable(weights: Shapes, pattern: str) -> str:
    """Which parts have deformable convolutions, of which version, with or without bias."""
    places: dict[str, str] = {}
    for name, offsets in weights.items():
        match = re.match(pattern + r"conv_offset\.weight$", name)
        if match:
            prefix = name.removesuffix("conv_offset.weight")
            taps = weights[f"{prefix}weight"].shape[2:].numel() if f"{prefix}weight" in weights else 9
            bias = " with bias" if f"{prefix}bias" in weights else ""
            places[match[1]] = DEFORMABLE.get(offsets.shape[0] // taps, f"{offsets.shape[0]} offsets") + bias
    kinds: dict[str, list[str]] = {}
    for place, kind in places.items():
        kinds.setdefault(kind, []).append(place)
    return "; ".join(f"{kind} in {', '.join(sorted(found))}" for kind, found in kinds.items())


def _count(weights: Shapes, pattern: str) -> int:
    return len({match[1] for name in weights if (match := re.match(pattern, name))})


def _channels(weights: Shapes, name: str, axis: int = 0) -> str:
    tensor: Any = weights.get(name)
    return str(tensor.shape[axis]) if tensor is not None and tensor.ndim > axis else ""
