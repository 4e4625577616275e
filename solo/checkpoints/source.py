"""Find the weights and class names in a checkpoint of any code base."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from solo.checkpoints.reading import read_file
from solo.errors import CheckpointError

# Keys under which training programs save weights; averaged weights after the others.
NESTING_KEYS = ("state_dict", "model", "model_state_dict", "weights", "ema_state_dict", "model_ema", "ema")
WRAPPER_PREFIX = "module."
MAX_DEPTH = 4
_CHUNK = 1 << 20


class SourceCheckpoint(NamedTuple):
    """Content of a checkpoint of another code base.

    Attributes:
        path: the file.
        sha256: of the whole file.
        weights: tensors by their name in the file, without the prefix of a distributed wrapper.
        nesting: dotted key of the weights, "" for the top level.
        ignored: reason by name, for values that are not tensors and other sets of weights.
        classes: class names in the file, None without any.
    """

    path: Path
    sha256: str
    weights: dict[str, Tensor]
    nesting: str
    ignored: dict[str, str]
    classes: tuple[str, ...] | None


def read_source(path: str | os.PathLike[str], *, weights_key: str | None = None) -> SourceCheckpoint:
    """Read a checkpoint of another code base.

    Args:
        path: what `torch.save` wrote, a pickle of numpy arrays (`.pkl`, `.pdparams`), or `.safetensors`.
        weights_key: dotted key of the dict that holds the weights; None tries the usual ones.

    Raises:
        CheckpointError: the file is missing, damaged, carries code, or holds no weights.
    """
    path = Path(path).expanduser()
    content = read_file(path)
    found, nesting = _select(content, weights_key, path) if weights_key else _find_weights(content)
    weights, ignored = _split_tensors(found) if isinstance(found, Mapping) else ({}, {})
    if not weights:
        kind = f"keys {sorted(map(str, content))[:8]}" if isinstance(content, Mapping) else type(content).__name__
        raise CheckpointError(f"checkpoint {path}: expected tensors by name, found {kind}")
    if nesting:
        ignored |= _other_weights(content, nesting)
    return SourceCheckpoint(path, file_sha256(path), weights, nesting, ignored, _classes(content))


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Compute the sha256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


def _find_weights(content: Any) -> tuple[Any, str]:
    """Follow the usual keys to the first dict that holds tensors; return it and its dotted key."""
    path: list[str] = []
    while isinstance(content, Mapping) and not _split_tensors(content)[0] and len(path) < MAX_DEPTH:
        key = next((key for key in NESTING_KEYS if isinstance(content.get(key), Mapping)), None)
        if key is None:
            break
        content = content[key]
        path.append(key)
    return content, ".".join(path)


def _select(content: Any, dotted: str, path: Path) -> tuple[Any, str]:
    for key in dotted.split("."):
        if not isinstance(content, Mapping) or key not in content:
            keys = sorted(map(str, content)) if isinstance(content, Mapping) else []
            raise CheckpointError(f"checkpoint {path} has no key {dotted!r}: {key!r} is not among {keys}")
        content = content[key]
    return content, dotted


def _split_tensors(found: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Separate the tensors from other values, which are ignored with a reason."""
    weights: dict[str, Tensor] = {}
    ignored: dict[str, str] = {}
    wrapped = bool(found) and all(str(name).startswith(WRAPPER_PREFIX) for name in found)
    for name, value in found.items():
        tensor = _as_tensor(value)
        if tensor is None:
            ignored[str(name)] = f"not a tensor but {type(value).__name__}"
        else:
            weights[str(name).removeprefix(WRAPPER_PREFIX if wrapped else "")] = tensor
    return weights, ignored


def _as_tensor(value: Any) -> Tensor | None:
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):
        value = value[1]  # Paddle stores (name of the parameter, array)
    return value if isinstance(value, Tensor) else None


def _other_weights(content: Any, nesting: str) -> dict[str, str]:
    """Other sets of weights in the file."""
    first = nesting.partition(".")[0]
    return {
        key: f"another set of weights; --weights-key {key} selects it"
        for key in NESTING_KEYS
        if key != first and isinstance(content.get(key), Mapping) and _split_tensors(content[key])[0]
    }


def _classes(content: Any) -> tuple[str, ...] | None:
    """Read class names as mmengine and mmcv store them."""
    meta = content.get("meta") if isinstance(content, Mapping) else None
    if not isinstance(meta, Mapping):
        return None
    dataset_meta = meta.get("dataset_meta")
    names = dataset_meta.get("classes", dataset_meta.get("CLASSES")) if isinstance(dataset_meta, Mapping) else None
    names = names if names is not None else meta.get("CLASSES")
    return tuple(map(str, names)) if isinstance(names, (list, tuple)) else None
