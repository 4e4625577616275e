"""Load checkpoints of `solo`, check them, and copy their weights into a model."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from solo.checkpoints.hub import local_checkpoint
from solo.checkpoints.reading import read_file
from solo.checkpoints.source import WRAPPER_PREFIX
from solo.errors import CheckpointError

SAFETENSORS_META = "solo"
"""Key of a safetensors file's header that holds `meta` as JSON."""

MAX_NAMES_IN_MESSAGE = 5
# Of mmdetection, WXinlong/SOLO and AdelaiDet.
_FOREIGN_PREFIXES = ("mask_head.", "bbox_head.", "mask_feat_head.", "ins_head.", "backbone.bottom_up.")


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Load a checkpoint onto the CPU.

    Args:
        path: file that a training, a conversion or `solo publish` has written; `hf://ORG/REPO/FILE` is downloaded.

    Returns:
        The checkpoint: `state_dict`, without the prefix `module.` of a distributed wrapper, and what was saved with it
        (`meta`, `message_hub`, ...).

    Raises:
        CheckpointError: the file is missing, damaged, carries code, or holds no `state_dict`.
    """
    path = local_checkpoint(path)
    checkpoint = read_file(path)
    if Path(path).suffix.lower() == ".safetensors":
        checkpoint = {"state_dict": checkpoint, "meta": _read_safetensors_meta(path)}
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), Mapping):
        found = f"keys {shorten(list(checkpoint))}" if isinstance(checkpoint, dict) else type(checkpoint).__name__
        raise CheckpointError(f"checkpoint {path}: expected a dict with `state_dict`, found {found}")
    weights = checkpoint["state_dict"]
    if weights and all(str(name).startswith(WRAPPER_PREFIX) for name in weights):
        checkpoint["state_dict"] = {name.removeprefix(WRAPPER_PREFIX): value for name, value in weights.items()}
    meta = checkpoint.setdefault("meta", {})
    _require(meta, dict, "meta", source=f"checkpoint {path}")
    _require(meta.get("dataset_meta") or {}, dict, "meta.dataset_meta", source=f"checkpoint {path}")
    return checkpoint


def _read_safetensors_meta(path: str) -> dict[str, Any]:
    """What `solo publish` stores beside the weights; nothing in files of others."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        text = (file.metadata() or {}).get(SAFETENSORS_META, "{}")
    try:
        meta = json.loads(text)
    except (ValueError, RecursionError):
        meta = None
    _require(meta, dict, SAFETENSORS_META, source=f"checkpoint {path}")
    return dict(meta)


def load_weights(model: nn.Module, checkpoint: Mapping[str, Any], *, source: str = "checkpoint") -> None:
    """Copy the weights of a checkpoint into a model; names and shapes have to agree, values have to be finite.

    Args:
        model: model to fill. It stays unchanged when an error is raised.
        checkpoint: result of `load_checkpoint`.
        source: name of the checkpoint in error messages.

    Raises:
        CheckpointError: weights are missing, unexpected, of another shape or kind, NaN or infinite.
    """
    check_fit(model, checkpoint, source=source)
    model.load_state_dict(checkpoint["state_dict"])


def check_fit(model: nn.Module, checkpoint: Mapping[str, Any], *, source: str = "checkpoint") -> None:
    """Compare names and shapes of a checkpoint's weights with those of a model, which may be on the meta device.

    Raises:
        CheckpointError: weights are missing, unexpected, of another shape or kind, NaN or infinite.
    """
    weights: Mapping[str, Tensor] = checkpoint["state_dict"]
    expected = model.state_dict()
    problems = {
        "of another shape": [
            f"{name}: expected {describe_tensor(value)}, found {describe_tensor(weights[name])}"
            for name, value in expected.items()
            if name in weights and describe_tensor(value) != describe_tensor(weights[name])
        ],
        "missing": [f"{name} {describe_tensor(value)}" for name, value in expected.items() if name not in weights],
        "unexpected": [f"{name} {describe_tensor(value)}" for name, value in weights.items() if name not in expected],
    }
    lines = [f"  {len(names)} {kind}: {shorten(names)}" for kind, names in problems.items() if names]
    if lines:
        lines += _conversion_hint(weights)
        raise CheckpointError("\n".join([f"{source} does not fit the model {type(model).__name__}:", *lines]))
    check_finite({name: weights[name].to(value.dtype) for name, value in expected.items()}, source=source)


def check_finite(weights: Mapping[str, Any], *, source: str) -> None:
    """Refuse weights that no model can compute with.

    Raises:
        CheckpointError: a tensor has NaN or infinite values.
    """
    broken = [
        f"{name} ({int((~value.isfinite()).sum())} of {value.numel()} values)"
        for name, value in weights.items()
        if isinstance(value, Tensor) and value.is_floating_point() and not bool(value.isfinite().all())
    ]
    if broken:
        raise CheckpointError(f"{source}: {len(broken)} tensors have NaN or infinite values: {shorten(broken)}")


def count_fitting(model: nn.Module, checkpoint: Mapping[str, Any], *, source: str = "checkpoint") -> str:
    """`N of M`: how many tensors of a model have the name and shape of one in a checkpoint.

    Raises:
        CheckpointError: none has, or a tensor has NaN or infinite values.
    """
    weights: Mapping[str, Tensor] = checkpoint["state_dict"]
    check_finite(weights, source=source)
    shapes = {name: describe_tensor(value) for name, value in weights.items()}
    expected = model.state_dict()
    count = sum(shapes.get(name) == describe_tensor(value) for name, value in expected.items())
    if not count:
        problem = f"{source}: not one of its {len(weights)} tensors fits the model {type(model).__name__}"
        raise CheckpointError("\n".join([problem, *_conversion_hint(weights)]))
    return f"{count} of {len(expected)}"


def load_fitting_weights(model: nn.Module, checkpoint: Mapping[str, Any]) -> None:
    """Copy the tensors of a checkpoint whose name and shape the model has; log the names of the others.

    Args:
        model: model to fill.
        checkpoint: result of `load_checkpoint`.
    """
    from mmengine.runner.checkpoint import load_state_dict

    load_state_dict(model, checkpoint["state_dict"], strict=False, logger="current")


def check_resumable(checkpoint: Mapping[str, Any], *, source: str) -> None:
    """Check that a checkpoint has what mmengine's `Runner.resume` reads beside the weights.

    Raises:
        CheckpointError: it was converted or saved without the state of the training, or that state is malformed.
    """
    meta, message_hub = checkpoint.get("meta") or {}, checkpoint.get("message_hub", {})
    _require(message_hub, dict, "message_hub", source=source)
    absent = [key for key in ("optimizer", "message_hub") if key not in checkpoint]
    absent += [f"meta.{key}" for key in ("epoch", "iter") if key not in meta]
    if absent:
        raise CheckpointError(
            f"{source} holds weights only and cannot be resumed: it has no {', '.join(absent)}. "
            "To start a training from its weights: --cfg-options load_from=FILE"
        )
    for key in ("log_scalars", "runtime_info", "resumed_keys"):
        _require(message_hub.get(key), dict, f"message_hub.{key}", source=source)
    _require(checkpoint["optimizer"], dict, "optimizer", source=source)
    for key in ("epoch", "iter"):
        _require(meta[key], int, f"meta.{key}", source=source)
    if meta.get("seed") is not None:
        _require(meta["seed"], int, "meta.seed", source=source)


def _require(value: Any, kind: type, key: str, *, source: str) -> None:
    if type(value) is not kind and not (kind is dict and isinstance(value, dict)):
        raise CheckpointError(f"{source}: expected {kind.__name__} as {key}, found {type(value).__name__}")
    if isinstance(value, int) and not 0 <= value < 2**32:
        raise CheckpointError(f"{source}: expected {key} from 0 to 2**32, found {value!r:.40}")


def _conversion_hint(names: Iterable[str]) -> list[str]:
    """A line that says how to convert a checkpoint with the names of another implementation."""
    foreign = [name for name in names if str(name).startswith(_FOREIGN_PREFIXES)][:1]
    hint = "are another implementation's: `solo convert` converts them"
    return [f"  names such as {name} {hint}" for name in foreign]


def describe_tensor(value: Any) -> str:
    """The shape of a tensor, and whether it holds integers; the type of any other value."""
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"{tuple(value.shape)}{'' if value.is_floating_point() else ' of integers'}"


def shorten(names: Sequence[Any]) -> str:
    """The first of many names, and the number of the others."""
    shown = ", ".join(str(name)[:200] for name in names[:MAX_NAMES_IN_MESSAGE])
    more = len(names) - MAX_NAMES_IN_MESSAGE
    return shown + (f", ... ({more} more)" if more > 0 else "")
