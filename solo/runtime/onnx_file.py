"""What an ONNX file says about itself, read from its bytes before any runtime parses it.

An ONNX file is one protobuf message. Only what is needed of that encoding is here: fields of variable length, nested
messages, and integers. Field numbers are those of `onnx.proto`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from solo.errors import ExportedModelError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_DEPTH = 32

_IR_VERSION, _GRAPH, _METADATA = 1, 7, 14  # of a ModelProto
_KEY, _VALUE = 1, 2  # of a StringStringEntryProto
_LOCATION, _EXTERNAL_DATA, _EXTERNAL = 14, 13, 1  # of a TensorProto

# Message -> field -> message within it: all ways from the model to a tensor.
_CHILDREN: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
}


class OnnxFile(NamedTuple):
    """What is read of a file."""

    metadata: dict[str, str]
    has_external_data: bool  # a tensor's values are in another file


def read_onnx(content: bytes) -> OnnxFile:
    """Read the fields of a model.

    Raises:
        ExportedModelError: it is no ONNX model, or truncated; the message does not name the file.
    """
    view = memoryview(content)
    try:
        fields = list(_fields(view))
        numbers = {number for number, _ in fields}
        if not {_IR_VERSION, _GRAPH} <= numbers:
            raise ExportedModelError("it is no ONNX model")
        entries = [dict(_fields(value)) for number, value in fields if number == _METADATA and _is_bytes(value)]
        metadata = {_text(entry[_KEY]): _text(entry[_VALUE]) for entry in entries if {_KEY, _VALUE} <= entry.keys()}
        return OnnxFile(metadata, _has_external_data(view, "model", depth=0))
    except ValueError:
        raise ExportedModelError("it is no ONNX model, or it is truncated") from None


def _has_external_data(message: memoryview, kind: str, *, depth: int) -> bool:
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    if kind == "tensor":
        return any(n == _EXTERNAL_DATA or (n == _LOCATION and value == _EXTERNAL) for n, value in _fields(message))
    children = _CHILDREN[kind]
    return any(
        _has_external_data(value, children[number], depth=depth + 1)
        for number, value in _fields(message)
        if number in children and isinstance(value, memoryview)
    )


def _fields(message: memoryview | int) -> Iterator[tuple[int, memoryview | int]]:
    """Number and value of each field: bytes, or an integer.

    Raises:
        ValueError: the message is damaged.
    """
    if isinstance(message, int):
        raise ValueError("an integer is no message")
    offset = 0
    while offset < len(message):
        tag, offset = _varint(message, offset)
        kind = tag & 7
        if kind == _VARINT:
            value, offset = _varint(message, offset)
            yield tag >> 3, value
            continue
        if kind not in (_FIXED64, _BYTES, _FIXED32):
            raise ValueError("unknown kind of field")
        length = {_FIXED64: 8, _FIXED32: 4}.get(kind, 0)
        if kind == _BYTES:
            length, offset = _varint(message, offset)
        if length > len(message) - offset:
            raise ValueError("a field is longer than its message")
        yield tag >> 3, message[offset : offset + length]
        offset += length


def _varint(message: memoryview, offset: int) -> tuple[int, int]:
    """An integer of seven bits a byte, and the offset behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if offset >= len(message):
            break
        byte = message[offset]
        offset += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, offset
    raise ValueError("an integer is cut off or too long")


def _is_bytes(value: memoryview | int) -> bool:
    return isinstance(value, memoryview)


def _text(value: memoryview | int) -> str:
    if isinstance(value, int):
        raise ValueError("an integer is no text")
    return bytes(value).decode()  # UnicodeDecodeError is a ValueError
