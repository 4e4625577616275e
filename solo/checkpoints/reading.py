"""Reading checkpoint files of all formats: torch's (zip and older), pickles of arrays, safetensors.

No code of a file is run and no text in it is evaluated (see `solo.checkpoints.unpickling`); sizes that a file declares
are compared with the size of the file before memory is allocated.
"""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from solo.checkpoints.unpickling import DTYPES, CheckpointUnpickler, CodeRefusedError, build_history, require
from solo.errors import CheckpointError, missing_file_message

ZIP_MAGIC = b"PK\x03\x04"
# The first two pickles of a file of torch before 1.6.
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
# Texts of `meta` and of the runtime info that mmengine would evaluate as Python configs.
CONFIG_KEYS = {"config", "cfg"}


def read_file(path: str | os.PathLike[str]) -> Any:
    """Read a checkpoint onto the CPU.

    Args:
        path: what `torch.save` wrote, a pickle of numpy arrays (`.pkl`, `.pdparams`), or `.safetensors`.

    Returns:
        Plain values and tensors. Configs that mmengine stores as text are renamed: `meta["config"]` to
        `meta["config_text"]`, `meta["cfg"]` to `meta["cfg_text"]`, so that nothing evaluates them.

    Raises:
        CheckpointError: the file is missing, damaged, carries code, or holds values that weights do not need.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise CheckpointError(missing_file_message(path, kind="checkpoint"))
    size = path.stat().st_size
    try:
        if path.suffix.lower() == ".safetensors":
            return _read_safetensors(path)
        with path.open("rb") as file:
            is_zip = file.read(len(ZIP_MAGIC)) == ZIP_MAGIC
            file.seek(0)
            return _prepare_for_mmengine(_read_zip(file, size) if is_zip else _read_pickles(file, size))
    except CodeRefusedError as error:
        raise CheckpointError(
            f"checkpoint {path} carries code: loading it would call {_one_line(error)!r}, which is refused. "
            "Expected tensors and plain values only"
        ) from error
    except Exception as error:  # damaged bytes may raise anything
        reason = "the file is empty" if size == 0 else f"{type(error).__name__}: {_one_line(error)}"
        raise CheckpointError(f"checkpoint {path} is damaged or not a checkpoint ({size} bytes; {reason})") from error


def _read_zip(file: BinaryIO, size: int) -> Any:
    """Read torch's zip format: `NAME/data.pkl` and the storages `NAME/data/KEY`, uncompressed."""
    archive = zipfile.ZipFile(file)
    names = archive.NameToInfo
    roots = [name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
    require(len(roots) == 1 and f"{roots[0]}constants.pkl" not in names, "no archive of torch.save")
    remaining = size

    def read(name: str) -> bytes:
        nonlocal remaining
        entry = names[roots[0] + name]
        remaining -= entry.file_size
        is_plain = entry.compress_type == zipfile.ZIP_STORED and remaining >= 0
        require(is_plain, f"an entry {name} of {entry.file_size} bytes, compressed or overlapping")
        return archive.read(entry)

    is_little_endian = f"{roots[0]}byteorder" not in names or read("byteorder") == b"little"
    require(is_little_endian, "numbers of a big-endian machine")
    pickled, load_storage = io.BytesIO(read("data.pkl")), lambda key, _: _as_bytes(read(f"data/{key}"))
    return CheckpointUnpickler(pickled, size=size, load_storage=load_storage).load()


def _read_pickles(file: BinaryIO, size: int) -> Any:
    """Read a pickle of arrays, or torch's format before 1.6: pickles, then the storages."""
    content = CheckpointUnpickler(file, size=size).load()
    if content == LEGACY_MAGIC and isinstance(content, int):
        return _read_legacy(file, size)
    require(not file.read(1), "bytes after the pickle's end")
    return content


def _read_legacy(file: BinaryIO, size: int) -> Any:
    protocol, system = (CheckpointUnpickler(file, size=size).load() for _ in range(2))
    is_known = protocol == LEGACY_PROTOCOL and system.get("little_endian") is True
    require(is_known, "another protocol or numbers of a big-endian machine")
    unpickler = CheckpointUnpickler(
        file, size=size, load_storage=lambda _, count: torch.zeros(count, dtype=torch.uint8)
    )
    content, storages = unpickler.load(), unpickler.storages
    keys = CheckpointUnpickler(file, size=size).load()
    require(sorted(keys) == sorted(storages), "storages that are not those of its tensors")
    for key in keys:
        count, expected = int.from_bytes(file.read(8), "little"), len(storages[key])
        block = file.read(expected)
        is_whole = len(block) == expected and not (expected % count if count else expected)
        require(is_whole, "a storage that is cut off")
        storages[key].copy_(_as_bytes(block))
    return content


def _as_bytes(block: bytes) -> Tensor:
    """The bytes as a writable uint8 tensor."""
    return torch.frombuffer(bytearray(block), dtype=torch.uint8) if block else torch.empty(0, dtype=torch.uint8)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    tensors = load_file(path)
    for tensor in tensors.values():
        require(tensor.dtype in DTYPES, f"a tensor of type {tensor.dtype}; expected real numbers")
    return tensors


def _prepare_for_mmengine(content: Any) -> Any:
    """Rename configs that mmengine would evaluate, and restore the histories that `saving` stores as tensors."""
    if not isinstance(content, dict):
        return content
    message_hub = _as_dict(content.get("message_hub"))
    for values in (_as_dict(content.get("meta")), _as_dict(message_hub.get("runtime_info"))):
        for key in CONFIG_KEYS & values.keys():
            values[f"{key}_text"] = values.pop(key)
    scalars = _as_dict(message_hub.get("log_scalars"))
    for name, history in scalars.items():
        if isinstance(history, dict) and history.keys() == {"values", "counts", "max_length"}:
            scalars[name] = build_history(**history)
    return content


def _as_dict(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def _one_line(error: BaseException) -> str:
    """The first line of an error, without control characters."""
    line = next(iter(str(error).splitlines()), "")
    return "".join(letter for letter in line if letter.isprintable())[:200]
