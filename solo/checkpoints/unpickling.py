"""A pickle reader for checkpoints that runs no code and builds no object whose content a file could forge.

`torch.load(weights_only=True)` and unpicklers with an allow-list call real constructors: `numpy.dtype` takes flags that
turn bytes into pointers, `torch.FloatTensor(n)` returns uninitialised memory, `bytes(10**9)` allocates it. Here every
name in a pickle stands for a function or a record of this module, which checks types and sizes before it allocates.
Memory is bounded by the size of the file, time by `MAX_OPCODES` and `MAX_VALUES`.
"""

from __future__ import annotations

import pickle
import re
from collections import Counter, OrderedDict
from collections.abc import Callable
from math import prod
from typing import Any, BinaryIO, NamedTuple, NoReturn

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

MAX_OPCODES = 2_000_000
MAX_VALUES = 2_000_000  # Counted with repetitions: a value that is referred to twice counts twice.
MAX_DEPTH = 64
MAX_KEY_LENGTH = 1_000
MAX_DIMENSIONS = 32
EXPANDED_BYTES = 1 << 20  # An expanded tensor (stride 0) may be this large without content.
SLACK_BYTES = 1 << 20

STORAGE_TYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "UntypedStorage": torch.uint8,
}
DTYPES = {*STORAGE_TYPES.values(), torch.uint16, torch.uint32, torch.uint64}
_NUMPY_DTYPE = re.compile(r"f[248]|[iu][1248]|b1")
REFUSED_OPCODES = ("OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "LONG4", "NEXT_BUFFER", "READONLY_BUFFER")
_HISTORY_STATISTICS = ("min", "max", "current", "mean")


class CodeRefusedError(pickle.UnpicklingError):
    """The file names a function or class that is not needed for weights."""


class Storage(NamedTuple):
    """The memory of a torch tensor: its bytes as a uint8 tensor, and the type of its elements."""

    content: Tensor
    dtype: torch.dtype


class Function(NamedTuple):
    """What a name in a pickle stands for; the pickle can do nothing but call it."""

    name: str
    call: Callable[..., Any]


class Marker(NamedTuple):
    """A class that a pickle names as an argument; it cannot be called."""

    name: str


class _NumpyDtype:
    def __init__(self, text: Any, *_: Any) -> None:
        self.text, self.byte_order = text, "<"

    def set_state(self, state: Any) -> None:
        _require(isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "|", "="), "an odd dtype")
        self.byte_order = state[1]

    def to_numpy(self) -> np.dtype[Any]:
        """The dtype of plain numbers with this text; flags, fields and metadata of the file are ignored."""
        text = self.text.lstrip("<>|=") if isinstance(self.text, str) else ""
        _require(_NUMPY_DTYPE.fullmatch(text), f"an array of type {self.text!r}"[:80])
        order = self.text[0] if self.text[0] in "<>|=" else self.byte_order
        return np.dtype(order + text)


class _NumpyArray:
    """A numpy array as recorded; `to_tensor` builds it from the bytes."""

    def __init__(self) -> None:
        self.state: Any = None
        self.tensor: Tensor | None = None

    def set_state(self, state: Any) -> None:
        _require(isinstance(state, tuple) and len(state) == 5, "an array without content")
        self.state = state[1:]

    def to_tensor(self, charge: Callable[[int], None]) -> Tensor:
        if self.tensor is None:
            _require(self.state is not None, "an array without content")
            shape, dtype, is_fortran, content = self.state
            flat = _numbers(dtype, content, _sizes(shape))
            charge(flat.nbytes)
            array = flat.reshape(shape, order="F" if is_fortran else "C")
            self.tensor = torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))
        return self.tensor


class _History:
    """A HistoryBuffer of mmengine as recorded."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}

    def set_state(self, state: Any) -> None:
        _require(isinstance(state, dict), "a history without content")
        self.state = state

    def to_history(self, charge: Callable[[int], None]) -> HistoryBuffer:
        """The history; functions that the file gives for its statistics are ignored."""
        arrays = [self.state.get(name) for name in ("_log_history", "_count_history")]
        tensors = [array.to_tensor(charge) for array in arrays if isinstance(array, _NumpyArray)]
        _require(len(tensors) == 2, "a history without content")
        return build_history(tensors[0], tensors[1], self.state.get("max_length"))


class CheckpointUnpickler(pickle._Unpickler):
    """Reads one pickle of tensors, arrays and plain values.

    Args:
        file: opened for reading, at the start of the pickle.
        size: size of the whole file in bytes; the values that are built are bounded by it.
        load_storage: returns the bytes of a storage by (key, expected bytes); None refuses torch tensors.
    """

    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]
    read: Callable[[int], bytes]
    readline: Callable[[], bytes]

    def __init__(self, file: BinaryIO, *, size: int, load_storage: Callable[[Any, int], Tensor] | None = None) -> None:
        # Python 2 wrote strings that are bytes; latin1 is numpy's own advice for its arrays.
        super().__init__(_BoundedReader(file, size), encoding="latin1")
        self._load_storage = load_storage
        self._budget = 2 * size + SLACK_BYTES
        self._opcodes = self._values = 0

    def load(self) -> Any:
        """Read the pickle.

        Returns:
            Plain values; numpy arrays as tensors, numpy scalars as Python numbers.

        Raises:
            CodeRefusedError: the pickle names a function or class that is not needed for weights.
            Exception: anything else that damaged bytes may cause.
        """
        return self._to_plain(super().load(), depth=0)

    def find_class(self, module: str, name: str) -> Any:
        """The function or marker of a name."""
        module = {"__builtin__": "builtins"}.get(module, module).replace("numpy._core.", "numpy.core.")
        full_name = f"{module}.{name}"
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        if module in ("torch", "torch.storage", "torch.cuda") and name.endswith("Storage"):
            _require(name in STORAGE_TYPES, f"a {name}; expected real numbers")
            return STORAGE_TYPES[name]
        if full_name in _MARKERS:
            return Marker(full_name)
        functions: dict[str, Any] = {**_FUNCTIONS, "_codecs.encode": self._encode, "builtins.tuple": self._tuple}
        if full_name in functions:
            return Function(full_name, functions[full_name])
        if module in ("torch._utils", "torch.sparse") or full_name.startswith("torch.nested"):
            raise pickle.UnpicklingError(f"it holds a sparse, quantised, nested or empty tensor ({name})")
        raise CodeRefusedError(full_name)

    def persistent_load(self, pid: Any) -> Storage:
        """The storage that a tensor refers to: ("storage", type, key, device, number of elements, ...)."""
        _require(self._load_storage is not None, "objects outside the file")
        _require(isinstance(pid, tuple) and len(pid) in (5, 6) and pid[0] == "storage", "an odd storage")
        _, dtype, key, _, count, *view = pid
        _require(isinstance(dtype, torch.dtype) and isinstance(key, (str, int)), "an odd storage")
        _require(type(count) is int and count >= 0 and not any(view), "an odd storage")
        assert self._load_storage is not None
        return Storage(self._load_storage(key, count * dtype.itemsize), dtype)

    def charge(self, count: int) -> None:
        """Count bytes that are about to be allocated.

        Raises:
            UnpicklingError: they exceed what a file of this size can hold.
        """
        self._budget -= count
        _require(self._budget >= 0, "more content than the file is large")

    def _encode(self, text: Any, encoding: Any = None) -> bytes:
        """How protocols 0 to 2 write bytes."""
        _require(type(text) is str and encoding in ("latin1", "latin-1"), f"bytes encoded as {encoding!r}"[:80])
        self.charge(len(text))
        return text.encode("latin1")

    def _tuple(self, values: Any = ()) -> tuple[Any, ...]:
        """How Paddle wraps a named array."""
        _require(type(values) in (tuple, list), f"tuple({type(values).__name__})")
        self.charge(8 * len(values))
        return tuple(values)

    def _to_plain(self, value: Any, *, depth: int) -> Any:
        """Replace the records of arrays by tensors; bound depth and size, repetitions counted."""
        self._values += 1
        _require(self._values <= MAX_VALUES and depth <= MAX_DEPTH, "values that are nested or repeated too often")
        if isinstance(value, dict):
            for key, item in value.items():
                value[key] = self._to_plain(item, depth=depth + 1)
        elif type(value) is list:
            for index, item in enumerate(value):
                value[index] = self._to_plain(item, depth=depth + 1)
        elif type(value) is tuple:
            return tuple(self._to_plain(item, depth=depth + 1) for item in value)
        elif isinstance(value, _NumpyArray):
            return value.to_tensor(self.charge)
        elif isinstance(value, _History):
            return value.to_history(self.charge)
        else:
            _require(isinstance(value, _PLAIN), f"a {type(value).__name__} instead of a value")
        return value

    # ------------------------------------------------------------------------------------- opcodes that need checks
    def _reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        _require(isinstance(function, Function) and isinstance(arguments, tuple), "a call of something else")
        self.append(function.call(*arguments))

    def _new_object(self) -> None:
        arguments, kind = self.stack.pop(), self.stack.pop()
        _require(kind == Marker(_HISTORY) and arguments == (), "an object")
        self.append(_History())

    def _build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if type(target) is OrderedDict:
            metadata = state.get("_metadata") if isinstance(state, dict) else None
            if _is_metadata(metadata):
                target._metadata = metadata  # type: ignore[attr-defined]
            return
        _require(isinstance(target, (_NumpyDtype, _NumpyArray, _History)), "an object with a state")
        target.set_state(state)

    def _instance(self) -> None:
        raise CodeRefusedError(".".join(self.readline()[:-1].decode("ascii") for _ in range(2)))

    def _bytearray(self) -> None:
        self.append(self.read(int.from_bytes(self.read(8), "little")))

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._update([key, value])

    def _set_items(self) -> None:
        self._update(self.pop_mark())

    def _dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._update(items)

    def _update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        _require(type(target) in (dict, OrderedDict) and len(items) % 2 == 0, "items of something else than a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_key(key)] = value

    def _extend(self) -> None:
        items = self.pop_mark()
        _require(type(self.stack[-1]) is list, "items of something else than a list")
        self.stack[-1].extend(items)

    def _append(self) -> None:
        item = self.stack.pop()
        _require(type(self.stack[-1]) is list, "items of something else than a list")
        self.stack[-1].append(item)

    def _add_items(self) -> None:
        items = self.pop_mark()
        _require(type(self.stack[-1]) is set, "items of something else than a set")
        self.stack[-1].update(map(_key, items))

    def _frozenset(self) -> None:
        self.append(frozenset(map(_key, self.pop_mark())))

    def _refuse(self) -> NoReturn:
        raise pickle.UnpicklingError("an opcode that weights do not need")


def _count_opcodes(run: Callable[[Any], None]) -> Callable[[Any], None]:
    def run_counted(unpickler: Any) -> None:
        unpickler._opcodes += 1
        _require(unpickler._opcodes <= MAX_OPCODES, f"more than {MAX_OPCODES:,} operations")
        run(unpickler)

    return run_counted


_HANDLERS: dict[int, Any] = {
    **pickle._Unpickler.dispatch,
    pickle.REDUCE[0]: CheckpointUnpickler._reduce,
    pickle.NEWOBJ[0]: CheckpointUnpickler._new_object,
    pickle.BUILD[0]: CheckpointUnpickler._build,
    pickle.INST[0]: CheckpointUnpickler._instance,
    pickle.BYTEARRAY8[0]: CheckpointUnpickler._bytearray,
    pickle.SETITEM[0]: CheckpointUnpickler._set_item,
    pickle.SETITEMS[0]: CheckpointUnpickler._set_items,
    pickle.DICT[0]: CheckpointUnpickler._dict,
    pickle.APPENDS[0]: CheckpointUnpickler._extend,
    pickle.APPEND[0]: CheckpointUnpickler._append,
    pickle.ADDITEMS[0]: CheckpointUnpickler._add_items,
    pickle.FROZENSET[0]: CheckpointUnpickler._frozenset,
    **{getattr(pickle, name)[0]: CheckpointUnpickler._refuse for name in REFUSED_OPCODES},
}
CheckpointUnpickler.dispatch = {code: _count_opcodes(handler) for code, handler in _HANDLERS.items()}


class _BoundedReader:
    """Refuses to read beyond the end before anything is allocated for it."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self.readline = file.readline

    def read(self, count: int) -> bytes:
        if count > 1:
            _require(count <= self._size - self._file.tell(), "more content than the file is large")
        return self._file.read(count)


def build_history(values: Tensor, counts: Tensor, max_length: Any) -> HistoryBuffer:
    """A HistoryBuffer of mmengine from logged values (N,), the counts they are averaged over (N,), and its length."""
    _require(values.ndim == 1 and values.shape == counts.shape, "a history whose values and counts differ in number")
    _require(type(max_length) is int and max_length > 0, "a history without a length")
    history = HistoryBuffer(max_length=max_length)
    history._log_history, history._count_history = values.numpy(), counts.numpy()
    return history


def _require(condition: Any, found: str) -> None:
    if not condition:
        raise pickle.UnpicklingError(f"it holds {found}")


def _key(key: Any) -> Any:
    """A key of a dict or member of a set, when it is a string or a number: hashing anything else may not end."""
    _require(type(key) in (str, int, float, bool, type(None)), f"a key that is a {type(key).__name__}")
    _require(not isinstance(key, str) or len(key) <= MAX_KEY_LENGTH, f"a key of more than {MAX_KEY_LENGTH} letters")
    return key


def _sizes(values: Any) -> tuple[int, ...]:
    is_sizes = isinstance(values, (tuple, list)) and all(type(value) is int and 0 <= value < 2**62 for value in values)
    _require(is_sizes and len(values) <= MAX_DIMENSIONS, "a shape that is not made of whole numbers")
    return tuple(values)


def _numbers(dtype: Any, content: Any, shape: tuple[int, ...]) -> np.ndarray:
    """The flat array of a recorded dtype and bytes, once their number is that of the shape."""
    _require(isinstance(dtype, _NumpyDtype) and isinstance(content, (bytes, str)), "an array without bytes")
    content = content.encode("latin1") if isinstance(content, str) else content
    plain = dtype.to_numpy()
    expected = prod(shape) * plain.itemsize
    _require(expected == len(content), f"an array of {shape} with {len(content)} bytes instead of {expected}"[:200])
    return np.frombuffer(content, plain)


def _scalar(dtype: Any, content: Any = b"") -> Any:
    return _numbers(dtype, content, ()).reshape(()).item()


def _reconstruct(kind: Any, shape: Any, code: Any) -> _NumpyArray:
    _require(kind == Marker("numpy.ndarray"), "an array of another class")
    return _NumpyArray()


def _from_buffer(content: Any, dtype: Any, shape: Any, order: Any) -> _NumpyArray:
    array = _NumpyArray()
    array.set_state((1, shape, dtype, order == "F", content))
    return array


def _tensor(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any = False,
    hooks: Any = None,
    *more: Any,
) -> Tensor:
    """A tensor on its storage, as `torch._utils._rebuild_tensor*` builds it, once it is known to lie within it."""
    dtype = next((value for value in more if isinstance(value, torch.dtype)), None)
    _require(isinstance(storage, Storage), "a tensor without storage")
    _require(not any(value for value in more if not isinstance(value, torch.dtype)), "a tensor with metadata")
    dtype = dtype or storage.dtype
    _require(dtype in DTYPES, f"a tensor of type {dtype}; expected real numbers")
    size, stride, (offset,) = _sizes(size), _sizes(stride), _sizes((offset,))
    _require(len(size) == len(stride), "a tensor whose size and stride differ in length")
    if 0 in size:
        return torch.empty(size, dtype=dtype)
    available = storage.content.numel()
    end = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True)) + 1
    count = prod(size) * dtype.itemsize
    _require(end * dtype.itemsize <= available, f"a tensor of {size} beyond the end of its {available} bytes"[:200])
    _require(count <= max(available, EXPANDED_BYTES), f"a tensor of {size} on {available} bytes"[:200])
    return torch.empty(0, dtype=dtype).set_(storage.content.untyped_storage(), offset, size, stride)


def _parameter(tensor: Any, *_: Any) -> Tensor:
    _require(isinstance(tensor, Tensor), "a parameter without tensor")
    return tensor


def _from_type(rebuild: Any, kind: Any, arguments: Any, state: Any) -> Tensor:
    """A tensor with attributes, which are ignored."""
    _require(isinstance(rebuild, Function) and rebuild.name.startswith("torch._utils."), "an odd tensor")
    return rebuild.call(*arguments)


def _statistic(owner: Any, name: Any) -> None:
    """The one use of `getattr`: a history names its own four statistics, which are not taken from the file."""
    if owner != Marker(_HISTORY) or name not in _HISTORY_STATISTICS:
        raise CodeRefusedError("builtins.getattr")


def _ordered_dict(pairs: Any = ()) -> OrderedDict[Any, Any]:
    _require(isinstance(pairs, (list, tuple)) and all(len(pair) == 2 for pair in pairs), "an odd OrderedDict")
    return OrderedDict((_key(key), value) for key, value in pairs)


def _counter(counts: Any = None) -> Counter[Any]:
    _require(isinstance(counts, dict) and all(type(count) is int for count in counts.values()), "an odd Counter")
    return Counter(counts)


def _set(members: Any = ()) -> set[Any]:
    _require(isinstance(members, (list, tuple)), "an odd set")
    return set(map(_key, members))


def _bytes() -> bytes:
    return b""


def _size(size: Any = ()) -> torch.Size:
    return torch.Size(_sizes(size))


def _device(kind: Any, index: Any = None) -> torch.device:
    _require(isinstance(kind, str) and (index is None or type(index) is int), "an odd device")
    return torch.device(kind) if index is None else torch.device(kind, index)


def _is_metadata(metadata: Any) -> bool:
    """Whether these are the versions of modules that torch keeps beside a state dict."""
    return isinstance(metadata, dict) and all(
        isinstance(versions, dict) and all(type(version) is int for version in versions.values())
        for versions in metadata.values()
    )


_HISTORY = "mmengine.logging.history_buffer.HistoryBuffer"
_MARKERS = (_HISTORY, "numpy.ndarray", "torch.Tensor", "torch._tensor.Tensor", "torch.nn.parameter.Parameter")
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "numpy.dtype": _NumpyDtype,
    "numpy.core.multiarray._reconstruct": _reconstruct,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _from_buffer,
    "collections.OrderedDict": _ordered_dict,
    "collections.Counter": _counter,
    "builtins.getattr": _statistic,
    "builtins.bytes": _bytes,
    "builtins.set": _set,
    "torch.Size": _size,
    "torch.device": _device,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    **{f"torch._utils._rebuild_tensor{version}": _tensor for version in ("", "_v2", "_v3")},
    **{f"torch._utils._rebuild_parameter{form}": _parameter for form in ("", "_with_state")},
}
_PLAIN = (str, int, float, bool, bytes, type(None), set, frozenset, Tensor, torch.dtype, torch.device, torch.Size)
