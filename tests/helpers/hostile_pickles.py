"""Pickles written opcode by opcode, and the files of torch around them."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from struct import pack
from typing import Any

ARRAY = "numpy.core.multiarray _reconstruct"


def constant(value: Any) -> bytes:
    """The opcodes of a plain value."""
    return pickle.dumps(value, protocol=2)[2:-1]


def name(text: str) -> bytes:
    """The opcode of a global, given as `module name`."""
    module, attribute = text.split()
    return f"c{module}\n{attribute}\n".encode()


def call(function: str, *arguments: bytes) -> bytes:
    """Opcodes that call a global with arguments."""
    return name(function) + b"(" + b"".join(arguments) + b"tR"


def array(shape: tuple[int, ...], dtype: bytes, content: bytes | None) -> bytes:
    """Opcodes of a numpy array; without content it has no state."""
    blank = call(ARRAY, name("numpy ndarray"), constant((0,)), constant("b"))
    if content is None:
        return call(ARRAY, name("numpy ndarray"), constant(shape), constant("b"))
    text = call("_codecs encode", constant(content.decode("latin1")), constant("latin1"))
    return blank + b"(" + constant(1) + constant(shape) + dtype + constant(False) + text + b"tb"


def dtype(text: str, flags: int | None = None, fields: Any = None) -> bytes:
    """Opcodes of a numpy dtype, with a state when flags are given."""
    made = call("numpy dtype", constant(text), constant(False), constant(True))
    if flags is None:
        return made
    state = (3, "<", None, *((tuple(fields), fields) if fields else (None, None)), -1, -1, flags)
    return made + constant(state) + b"b"


def storage(count: int, *, kind: str = "FloatStorage", key: str = "0") -> bytes:
    """Opcodes of a reference to a storage."""
    return (
        b"(" + constant("storage") + name(f"torch {kind}") + constant(key) + constant("cpu") + constant(count) + b"tQ"
    )


def tensor(size: tuple[int, ...], stride: tuple[int, ...], *, offset: int = 0, count: int = 4, **kind: str) -> bytes:
    """Opcodes of a tensor on a storage."""
    hooks = call("collections OrderedDict")
    parts = (storage(count, **kind), constant(offset), constant(size), constant(stride), constant(False), hooks)
    return call("torch._utils _rebuild_tensor_v2", *parts)


def nested_tuple(levels: int) -> bytes:
    return constant(1) + b"\x85" * levels


def billion_laughs(levels: int) -> bytes:
    """Opcodes of a tuple of the same two tuples of the same two tuples ..."""
    return b")" + b"".join(b"r" + pack("<I", index) + b"j" + pack("<I", index) + b"\x86" for index in range(levels))


def mapping(*items: tuple[bytes, bytes]) -> bytes:
    return b"}" + b"".join(key + value + b"s" for key, value in items)


def weights_with(value: bytes, key: bytes | None = None) -> bytes:
    """A dict that has a sound array beside the value."""
    sound = array((2,), dtype("f4"), bytes(8))
    return mapping((constant("a.weight"), sound), (constant("b.weight") if key is None else key, value))


def write_pickle(path: Path, content: bytes) -> Path:
    path.write_bytes(b"\x80\x02" + content + b".")
    return path


def write_zip(path: Path, content: bytes, *, storages: dict[str, bytes] | None = None, compression: int = 0) -> Path:
    """A file as `torch.save` writes it."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + content + b".")
        archive.writestr("archive/byteorder", "little")
        for key, block in (storages or {"0": bytes(16)}).items():
            archive.writestr(f"archive/data/{key}", block)
        archive.writestr("archive/version", "3\n")
    return path
