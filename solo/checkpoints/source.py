"""Reading a checkpoint of any code base: which tensors it holds, and what it says about its classes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from solo.checkpoints.loading import read_file
from solo.checkpoints.pickles import read_pickle
from solo.errors import CheckpointError, missing_file_message

PICKLES = (".pkl", ".pickle", ".pdparams", ".pdema")
# Where training programs put the weights in what they save; the averaged ones after the plain ones.
NESTING_KEYS = ("state_dict", "model", "model_state_dict", "weights", "ema_state_dict", "model_ema", "ema")
WRAPPER_PREFIX = "module."
MAX_DEPTH = 4
_CHUNK = 1 << 20


class SourceCheckpoint(NamedTuple):
    """What a file of another code base holds.

    Attributes:
        path: the file.
        sha256: of the whole file.
        weights: tensors by their name in the file, without the prefix of a distributed wrapper.
        nesting: keys that lead to them, "" when they are at the top.
        ignored: reasons by name: values that are no tensors, and other sets of weights.
        classes: names of the classes that the file states, None when it states none.
    """

    path: Path
    sha256: str
    weights: dict[str, Tensor]
    nesting: str
    ignored: dict[str, str]
    classes: tuple[str, ...] | None


def read_source(path: str | os.PathLike[str], *, weights_key: str | None = None) -> SourceCheckpoint:
    """Read a checkpoint: `.pth` and the like of torch, `.pkl`, `.pdparams`, `.safetensors`. No code of it is run.

    Args:
        path: the file.
        weights_key: dotted key of the dict that holds the weights; None looks for the usual ones.

    Raises:
        CheckpointError: the file is missing, damaged, carries code, or holds no weights.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise CheckpointError(missing_file_message(path, kind="checkpoint"))
    content = _read(path)
    found, nesting = _nested(content, weights_key, path) if weights_key else _find_weights(content)
    weights, ignored = _tensors(found) if isinstance(found, Mapping) else ({}, {})
    if not weights:
        came = f"keys {sorted(map(str, content))[:8]}" if isinstance(content, Mapping) else type(content).__name__
        raise CheckpointError(f"checkpoint {path}: expected tensors by name, found {came}")
    if nesting:
        ignored |= _other_weights(content, nesting)
    return SourceCheckpoint(path, file_sha256(path), weights, nesting, ignored, _classes(content))


def file_sha256(path: str | os.PathLike[str]) -> str:
    """The sha256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


def _read(path: Path) -> Any:
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        return _read_safetensors(path)
    if suffix in PICKLES:
        return read_pickle(path)
    return read_file(path)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"checkpoint {path} is damaged or no safetensors file ({error})") from error


def _find_weights(content: Any) -> tuple[Any, str]:
    """Go down the usual keys to the first dict that holds tensors, and say which keys those were."""
    path: list[str] = []
    while isinstance(content, Mapping) and not _tensors(content)[0] and len(path) < MAX_DEPTH:
        key = next((key for key in NESTING_KEYS if isinstance(content.get(key), Mapping)), None)
        if key is None:
            break
        content = content[key]
        path.append(key)
    return content, ".".join(path)


def _nested(content: Any, dotted: str, path: Path) -> tuple[Any, str]:
    for key in dotted.split("."):
        if not isinstance(content, Mapping) or key not in content:
            keys = sorted(map(str, content)) if isinstance(content, Mapping) else []
            raise CheckpointError(f"checkpoint {path} has no key {dotted!r}; where {key!r} is looked for it has {keys}")
        content = content[key]
    return content, dotted


def _tensors(found: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The values that are tensors, and why the others are not taken."""
    weights: dict[str, Tensor] = {}
    ignored: dict[str, str] = {}
    wrapped = bool(found) and all(str(name).startswith(WRAPPER_PREFIX) for name in found)
    for name, value in found.items():
        tensor = _as_tensor(value)
        if tensor is None:
            ignored[str(name)] = f"no tensor but {type(value).__name__}"
        else:
            weights[str(name).removeprefix(WRAPPER_PREFIX if wrapped else "")] = tensor
    return weights, ignored


def _as_tensor(value: Any) -> Tensor | None:
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):
        value = value[1]  # Paddle's pair of a parameter's own name and its array
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub" and value.dtype.itemsize <= 8:
        return torch.from_numpy(value.astype(value.dtype.newbyteorder("=")))
    return None


def _other_weights(content: Any, nesting: str) -> dict[str, str]:
    """Sets of weights beside the one that is taken."""
    first = nesting.partition(".")[0]
    return {
        key: f"another set of weights; --weights-key {key} takes it instead"
        for key in NESTING_KEYS
        if key != first and isinstance(content.get(key), Mapping) and _tensors(content[key])[0]
    }


def _classes(content: Any) -> tuple[str, ...] | None:
    """Class names as mmengine and mmcv store them."""
    meta = content.get("meta") if isinstance(content, Mapping) else None
    if not isinstance(meta, Mapping):
        return None
    dataset_meta = meta.get("dataset_meta")
    names = dataset_meta.get("classes", dataset_meta.get("CLASSES")) if isinstance(dataset_meta, Mapping) else None
    names = names if names is not None else meta.get("CLASSES")
    return tuple(map(str, names)) if isinstance(names, (list, tuple)) else None
