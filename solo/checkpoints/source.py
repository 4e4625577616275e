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
    """Content of a checkpoint of another code base."""

    path: Path  # the file
    sha256: str  # of the whole file
    weights: dict[str, Tensor]  # tensors by their name in the file, without the prefix of a distributed wrapper
    ignored: dict[str, str]  # reason by name, for values that are not tensors and other sets of weights
    classes: tuple[str, ...] | None  # class names in the file, None without any


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
    keys = weights_key.split(".") if weights_key else _find_weights(content)
    found = content
    for key in keys:
        if not isinstance(found, Mapping) or key not in found:
            names = sorted(map(str, found)) if isinstance(found, Mapping) else []
            raise CheckpointError(f"checkpoint {path} has no key {weights_key!r}: {key!r} is not among {names}")
        found = found[key]
    weights, ignored = _split_tensors(found)
    if not weights:
        kind = f"keys {sorted(map(str, content))[:8]}" if isinstance(content, Mapping) else type(content).__name__
        raise CheckpointError(f"checkpoint {path}: expected tensors by name, found {kind}")
    for key in NESTING_KEYS if keys else ():
        if key != keys[0] and _split_tensors(content.get(key))[0]:
            ignored[key] = f"another set of weights; --weights-key {key} selects it"
    return SourceCheckpoint(path, file_sha256(path), weights, ignored, _read_classes(content))


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Compute the sha256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


def _find_weights(content: Any) -> list[str]:
    """Follow the usual keys to the first dict that holds tensors."""
    path: list[str] = []
    while not _split_tensors(content)[0] and len(path) < MAX_DEPTH:
        key = next((key for key in NESTING_KEYS if isinstance(_as_mapping(content).get(key), Mapping)), None)
        if key is None:
            break
        content = content[key]
        path.append(key)
    return path


def _split_tensors(found: Any) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Separate the tensors of a dict from other values, which are ignored with a reason."""
    weights: dict[str, Tensor] = {}
    ignored: dict[str, str] = {}
    found = _as_mapping(found)
    prefix = WRAPPER_PREFIX if all(str(name).startswith(WRAPPER_PREFIX) for name in found) else ""
    for name, value in found.items():
        if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):
            value = value[1]  # Paddle stores (name of the parameter, array)
        if isinstance(value, Tensor):
            weights[str(name).removeprefix(prefix)] = value
        else:
            ignored[str(name)] = f"not a tensor but {type(value).__name__}"
    return weights, ignored


def _read_classes(content: Any) -> tuple[str, ...] | None:
    """Read class names as mmengine and mmcv store them."""
    meta = _as_mapping(_as_mapping(content).get("meta"))
    dataset_meta = _as_mapping(meta.get("dataset_meta"))
    names = dataset_meta.get("classes", dataset_meta.get("CLASSES", meta.get("CLASSES")))
    return tuple(map(str, names)) if isinstance(names, (list, tuple)) else None


def _as_mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
