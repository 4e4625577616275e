"""Load checkpoints safely and put their weights into a model."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from solo.errors import CheckpointError, missing_file_message

MAX_KEYS_IN_MESSAGE = 5
# Of mmdetection, WXinlong/SOLO and AdelaiDet.
_FOREIGN_PREFIXES = ("mask_head.", "bbox_head.", "mask_feat_head.", "ins_head.", "backbone.bottom_up.")


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Load a checkpoint onto the CPU.

    Args:
        path: File that a training run of `solo` or a conversion has written.

    Returns:
        The checkpoint: `state_dict`, and what was saved with it (`meta`, `message_hub`, ...).

    Raises:
        CheckpointError: The file is missing, damaged, carries code, or holds no `state_dict`.
    """
    checkpoint = read_file(path)
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), Mapping):
        came = f"keys {_shortened(list(checkpoint))}" if isinstance(checkpoint, dict) else type(checkpoint).__name__
        raise CheckpointError(f"checkpoint {path}: expected a dict with `state_dict`, found {came}")
    return checkpoint


def read_file(path: str | os.PathLike[str], *, map_location: Any = "cpu") -> Any:
    """Read what `torch.save` wrote, with `weights_only=True`.

    Args:
        path: File to read.
        map_location: Where tensors go, as `torch.load` takes it.

    Raises:
        CheckpointError: The file is missing, damaged, or carries code.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise CheckpointError(missing_file_message(path, kind="checkpoint"))
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # damaged bytes may raise anything
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        if refused:
            raise CheckpointError(
                f"checkpoint {path} carries code: loading it would call {refused.group(1)!r}, which is refused. "
                "Expected tensors and plain values only"
            ) from error
        # After its first sentence torch advises to load the file unsafely.
        reason = next(iter(str(error).splitlines()), "").partition(". In PyTorch")[0] or "it is empty"
        raise CheckpointError(
            f"checkpoint {path} is damaged or not a checkpoint ({path.stat().st_size} bytes; "
            f"{type(error).__name__}: {reason})"
        ) from error


def load_weights(model: nn.Module, checkpoint: Mapping[str, Any], *, source: str = "checkpoint") -> None:
    """Copy a checkpoint's weights into a model; every name and shape has to agree.

    Args:
        model: Model to fill. It stays as it was when an error is raised.
        checkpoint: What `load_checkpoint` returned.
        source: Name of the checkpoint in error messages.

    Raises:
        CheckpointError: Weights are missing, unexpected or of another shape.
    """
    check_fit(model, checkpoint, source=source)
    model.load_state_dict(checkpoint["state_dict"])


def check_fit(model: nn.Module, checkpoint: Mapping[str, Any], *, source: str = "checkpoint") -> None:
    """Compare names and shapes of a checkpoint's weights with those of a model, which may be on the meta device.

    Raises:
        CheckpointError: Weights are missing, unexpected or of another shape.
    """
    weights: Mapping[str, Tensor] = checkpoint["state_dict"]
    expected = model.state_dict()
    missing = [f"{name} {_shape(expected[name])}" for name in expected if name not in weights]
    unexpected = [f"{name} {_shape(weights[name])}" for name in weights if name not in expected]
    reshaped = [
        f"{name}: expected {_shape(expected[name])}, came {_shape(weights[name])}"
        for name in expected
        if name in weights and _shape(expected[name]) != _shape(weights[name])
    ]
    problems = {"of another shape": reshaped, "missing": missing, "unexpected": unexpected}
    lines = [f"  {len(keys)} {kind}: {_shortened(keys)}" for kind, keys in problems.items() if keys]
    if lines:
        lines += _conversion_hint(weights)
        raise CheckpointError("\n".join([f"{source} does not fit the model {type(model).__name__}:", *lines]))


def share_that_fits(model: nn.Module, checkpoint: Mapping[str, Any], *, source: str = "checkpoint") -> str:
    """`N of M`: how many tensors of a model have the name and shape of one in a checkpoint.

    Raises:
        CheckpointError: None has.
    """
    weights: Mapping[str, Tensor] = checkpoint["state_dict"]
    shapes = {name.removeprefix("module."): _shape(value) for name, value in weights.items()}
    expected = model.state_dict()
    count = sum(shapes.get(name) == _shape(value) for name, value in expected.items())
    if not count:
        problem = f"{source}: not one of its {len(weights)} tensors fits the model {type(model).__name__}"
        raise CheckpointError("\n".join([problem, *_conversion_hint(weights)]))
    return f"{count} of {len(expected)}"


def _conversion_hint(names: Iterable[str]) -> list[str]:
    """A line that says how to convert a checkpoint whose names are another implementation's."""
    foreign = next((name for name in names if str(name).startswith(_FOREIGN_PREFIXES)), None)
    if foreign is None:
        return []
    return [f"  names such as {foreign} are another implementation's: tools/convert_checkpoint.py converts them"]


def _shape(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__


def _shortened(names: list[Any]) -> str:
    shown = ", ".join(str(name) for name in names[:MAX_KEYS_IN_MESSAGE])
    return shown + (f", ... ({len(names) - MAX_KEYS_IN_MESSAGE} more)" if len(names) > MAX_KEYS_IN_MESSAGE else "")
