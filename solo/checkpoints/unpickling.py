"""A pickle reader for checkpoints that runs no code and builds no object whose content a file could forge.

`torch.load(weights_only=True)` and unpicklers with an allow-list call real constructors: `numpy.dtype` takes flags that
turn bytes into pointers, `torch.FloatTensor(n)` returns uninitialised memory, `bytes(10**9)` allocates it. Here every
name in a pickle stands for a function of this module, which checks types and sizes before it allocates.
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
SLACK_BYTES = 1 << 20
MAX_KEY_LENGTH = 1_000
MAX_DIMENSIONS = 32
EXPANDED_BYTES = 1 << 20  # An expanded tensor (stride 0) may be this large without content.
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
UNFILLED = torch.complex128  # Marks an array that the pickle has created but not filled; none of DTYPES.
HISTORY = "mmengine.logging.history_buffer.HistoryBuffer"
_NUMPY_DTYPE = re.compile(r"[<>|=]?(f[248]|[iu][1248]|b1)")


class CodeRefusedError(pickle.UnpicklingError):
    """The file names a function or class that is not needed for weights."""


class Name(NamedTuple):
    """What a name in a pickle stands for: a function that may be called, or a class that is an argument only."""

    text: str
    call: Callable[..., Any] | None = None


def require(condition: Any, found: str) -> None:
    if not condition:
        raise pickle.UnpicklingError(f"it holds {found}")


def check_key(key: Any) -> Any:
    """Return a key of a dict when it is a string or a number: hashing anything else may not end."""
    require(type(key) in (str, int, float, bool, type(None)), f"a key that is a {type(key).__name__}")
    require(not isinstance(key, str) or len(key) <= MAX_KEY_LENGTH, f"a key of more than {MAX_KEY_LENGTH} letters")
    return key


def _check_sizes(values: Any) -> tuple[int, ...]:
    is_sizes = isinstance(values, (tuple, list)) and all(type(value) is int and 0 <= value < 2**62 for value in values)
    require(is_sizes and len(values) <= MAX_DIMENSIONS, "a shape that is not made of whole numbers")
    return tuple(values)


# ------------------------------------------------------------------------------------------------- arrays of numpy
class NumpyDtype:
    """A dtype as recorded; flags, fields and metadata of the file are ignored."""

    def __init__(self, text: Any, *_: Any) -> None:
        self.text, self.byte_order = text, "|"

    def set_state(self, state: Any) -> None:
        require(isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "|", "="), "an odd dtype")
        self.byte_order = state[1]

    def to_numpy(self) -> np.dtype[Any]:
        text = self.text if isinstance(self.text, str) else ""
        require(_NUMPY_DTYPE.fullmatch(text), f"an array of type {text[:60]!r}")
        return np.dtype(text).newbyteorder(self.byte_order)  # type: ignore[arg-type]


def to_numbers(content: Any, dtype: Any, shape: Any, *, is_fortran: Any = False) -> np.ndarray:
    """View bytes as the array of a recorded dtype, once their number is that of the shape."""
    require(isinstance(dtype, NumpyDtype) and isinstance(content, (bytes, str)), "an array without bytes")
    content = content.encode("latin1") if isinstance(content, str) else content
    plain, shape = dtype.to_numpy(), _check_sizes(shape)
    expected = prod(shape) * plain.itemsize
    require(expected == len(content), f"an array of {shape} with {len(content)} bytes instead of {expected}"[:200])
    return np.frombuffer(content, plain).reshape(shape, order="F" if is_fortran else "C")


def _reconstruct(kind: Any, shape: Any, code: Any) -> Tensor:
    require(kind == Name("numpy.ndarray"), "an array of another class")
    return torch.empty(0, dtype=UNFILLED)


def build_history(values: Any, counts: Any, max_length: Any) -> HistoryBuffer:
    """A HistoryBuffer of mmengine from logged values (N,), the counts they are averaged over (N,), and its length.

    Its statistics are the class's own, whatever a file names.
    """
    for array in (values, counts):
        require(isinstance(array, Tensor) and array.dtype in DTYPES and array.ndim == 1, "a history without content")
    require(values.shape == counts.shape, "a history whose values and counts differ in number")
    require(type(max_length) is int and max_length > 0, "a history without a length")
    history = HistoryBuffer(max_length=max_length)
    history._log_history, history._count_history = values.numpy(), counts.numpy()
    return history


# ------------------------------------------------------------------------------------------------ tensors and others
def _tensor(
    storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any = False, hooks: Any = None, *more: Any
) -> Tensor:
    """A tensor on its storage, as `torch._utils._rebuild_tensor*` builds it, once it is known to lie within it."""
    require(isinstance(storage, Tensor), "a tensor without storage")
    require(not any(value for value in more if not isinstance(value, torch.dtype)), "a tensor with metadata")
    dtype = next((value for value in more if isinstance(value, torch.dtype)), storage.dtype)
    require(dtype in DTYPES, f"a tensor of type {dtype}; expected real numbers")
    size, stride, (offset,) = _check_sizes(size), _check_sizes(stride), _check_sizes((offset,))
    require(len(size) == len(stride), "a tensor whose size and stride differ in length")
    if 0 in size:
        return torch.empty(size, dtype=dtype)
    available = storage.untyped_storage().nbytes()
    end = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True)) + 1
    count = prod(size) * dtype.itemsize
    require(end * dtype.itemsize <= available, f"a tensor of {size} beyond the end of its {available} bytes"[:200])
    require(count <= max(available, EXPANDED_BYTES), f"a tensor of {size} on {available} bytes"[:200])
    return torch.empty(0, dtype=dtype).set_(storage.untyped_storage(), offset, size, stride)


def _parameter(tensor: Any, *_: Any) -> Tensor:
    require(isinstance(tensor, Tensor), "a parameter without tensor")
    return tensor


def _statistic(owner: Any, name: Any) -> None:
    """The one use of `getattr`: a history names its own four statistics, which are not taken from the file."""
    if owner != Name(HISTORY) or name not in ("min", "max", "current", "mean"):
        raise CodeRefusedError("builtins.getattr")


def _ordered_dict(pairs: Any = ()) -> OrderedDict[Any, Any]:
    require(isinstance(pairs, (list, tuple)) and all(len(pair) == 2 for pair in pairs), "an odd OrderedDict")
    return OrderedDict((check_key(key), value) for key, value in pairs)


def _counter(counts: Any = None) -> Counter[Any]:
    """Milestones of a learning rate schedule."""
    require(isinstance(counts, dict) and all(type(count) is int for count in counts.values()), "an odd Counter")
    return Counter(counts)


def _tuple(values: Any) -> tuple[Any, ...]:
    """How Paddle wraps a named array."""
    require(type(values) is tuple, f"tuple({type(values).__name__})")
    return values


def is_metadata(metadata: Any) -> bool:
    """Whether these are the versions of modules that torch keeps beside a state dict."""
    return isinstance(metadata, dict) and all(
        isinstance(versions, dict) and all(type(version) is int for version in versions.values())
        for versions in metadata.values()
    )


ARGUMENTS = (HISTORY, "numpy.ndarray", "torch.Tensor", "torch._tensor.Tensor", "torch.nn.parameter.Parameter")
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "numpy.dtype": NumpyDtype,
    "numpy.core.multiarray._reconstruct": _reconstruct,
    "numpy.core.multiarray.scalar": lambda dtype, content: to_numbers(content, dtype, ()).item(),
    "collections.OrderedDict": _ordered_dict,
    "collections.Counter": _counter,
    "builtins.getattr": _statistic,
    "builtins.bytes": lambda: b"",
    "builtins.tuple": _tuple,
    **{f"torch._utils._rebuild_tensor{version}": _tensor for version in ("", "_v2", "_v3")},
    **{f"torch._utils._rebuild_parameter{form}": _parameter for form in ("", "_with_state")},
}
NAMES = {text: Name(text) for text in ARGUMENTS} | {text: Name(text, call) for text, call in FUNCTIONS.items()}
PLAIN_TYPES = (str, int, float, bool, bytes, type(None), Tensor, torch.dtype, HistoryBuffer)


# ------------------------------------------------------------------------------------------------------ the reader
class CheckpointUnpickler(pickle._Unpickler):
    """Reads one pickle of tensors, arrays and plain values.

    Args:
        file: opened for reading, at the start of the pickle.
        size: size of the whole file in bytes; the values that are built are bounded by it.
        load_storage: returns the bytes of a storage by (key, expected bytes); None refuses torch tensors.

    Attributes:
        storages: the bytes of the loaded storages by key.
    """

    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]
    read: Callable[[int], bytes]

    def __init__(self, file: BinaryIO, *, size: int, load_storage: Callable[[Any, int], Tensor] | None = None) -> None:
        # Python 2 wrote strings that are bytes; latin1 is numpy's own advice for its arrays.
        super().__init__(_BoundedReader(file, size), encoding="latin1")
        self.storages: dict[Any, Tensor] = {}
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
        content = super().load()
        self._check(content, depth=0)
        return content

    def find_class(self, module: str, name: str) -> Any:
        """The type or function that a name stands for."""
        module = {"__builtin__": "builtins"}.get(module, module).replace("numpy._core.", "numpy.core.")
        full_name = f"{module}.{name}"
        if full_name in NAMES:
            return NAMES[full_name]
        if full_name == "_codecs.encode":
            return Name(full_name, self._encode)
        if full_name == "numpy.core.numeric._frombuffer":
            return Name(full_name, self._array_from_buffer)
        if module == "torch" and isinstance(vars(torch).get(name), torch.dtype):
            return vars(torch)[name]
        if module in ("torch", "torch.storage", "torch.cuda") and name.endswith("Storage"):
            require(name in STORAGE_TYPES, f"a {name}; expected real numbers")
            return STORAGE_TYPES[name]
        if module == "torch._utils" or full_name.startswith("torch.nested"):
            raise pickle.UnpicklingError(f"it holds a sparse, quantised, nested or empty tensor ({name})")
        raise CodeRefusedError(full_name)

    def persistent_load(self, pid: Any) -> Tensor:
        """The elements of a tensor's storage, from ("storage", type, key, device, number of elements, ...)."""
        require(isinstance(pid, tuple) and len(pid) in (5, 6) and pid[0] == "storage", "an odd storage")
        _, dtype, key, _, count, *view = pid
        require(isinstance(dtype, torch.dtype) and dtype in DTYPES and isinstance(key, (str, int)), "an odd storage")
        require(type(count) is int and count >= 0 and not any(view), "an odd storage")
        expected = count * dtype.itemsize
        if key not in self.storages:
            if self._load_storage is None:
                raise pickle.UnpicklingError("it holds objects outside the file")
            self._charge(expected)
            self.storages[key] = self._load_storage(key, expected)
        found = len(self.storages[key])
        require(found == expected, f"a storage of {found} bytes instead of {expected}")
        return self.storages[key].view(dtype)

    def _charge(self, count: int) -> None:
        """Refuse to allocate more bytes than a file of this size can hold."""
        self._budget -= count
        require(self._budget >= 0, "more content than the file is large")

    def _encode(self, text: Any, encoding: Any = None) -> bytes:
        """How protocols 0 to 2 write bytes."""
        require(type(text) is str and encoding in ("latin1", "latin-1"), "bytes that are not encoded as latin1")
        self._charge(len(text))
        return text.encode("latin1")

    def _to_tensor(self, array: np.ndarray) -> Tensor:
        self._charge(array.nbytes)
        return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))

    def _array_from_buffer(self, content: Any, dtype: Any, shape: Any, order: Any) -> Tensor:
        return self._to_tensor(to_numbers(content, dtype, shape, is_fortran=order == "F"))

    def _check(self, value: Any, *, depth: int) -> None:
        """Bound depth and number of values, repetitions counted, and refuse what is no value."""
        self._values += 1
        require(self._values <= MAX_VALUES and depth <= MAX_DEPTH, "values that are nested or repeated too often")
        if type(value) in (dict, OrderedDict, Counter, list, tuple):
            for item in value.values() if isinstance(value, dict) else value:
                self._check(item, depth=depth + 1)
        else:
            require(isinstance(value, PLAIN_TYPES), f"a {type(value).__name__} instead of a value")
            require(not isinstance(value, Tensor) or value.dtype in DTYPES, "an array without content")

    # --------------------------------------- opcodes whose default handler checks nothing; only lists have `append`
    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        require(isinstance(function, Name) and isinstance(arguments, tuple), "a call of something else")
        require(function.call, f"a call of {function.text}")
        self.append(function.call(*arguments))

    def load_newobj(self) -> None:
        arguments, kind = self.stack.pop(), self.stack.pop()
        require(kind == Name(HISTORY) and arguments == (), "an object")
        self.append(HistoryBuffer())

    def load_build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, NumpyDtype):
            target.set_state(state)
        elif isinstance(target, Tensor) and target.dtype == UNFILLED:
            require(isinstance(state, tuple) and len(state) == 5, "an array without content")
            _, shape, dtype, is_fortran, content = state
            target.data = self._to_tensor(to_numbers(content, dtype, shape, is_fortran=is_fortran))
        else:
            require(type(target) in (OrderedDict, HistoryBuffer) and isinstance(state, dict), "an object with a state")
            if isinstance(target, HistoryBuffer):
                parts = [state.get(name) for name in ("_log_history", "_count_history", "max_length")]
                vars(target).update(vars(build_history(*parts)))
            elif is_metadata(state.get("_metadata")):
                target._metadata = state["_metadata"]

    def load_bytearray8(self) -> None:
        self.append(self.read(int.from_bytes(self.read(8), "little")))

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._update([key, value])

    def load_setitems(self) -> None:
        self._update(self.pop_mark())

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._update(items)

    def _update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        require(type(target) in (dict, OrderedDict) and len(items) % 2 == 0, "items of something else than a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[check_key(key)] = value

    def _refuse(self, *_: Any) -> NoReturn:
        raise pickle.UnpicklingError("it has an opcode that weights do not need")

    load_newobj_ex = load_additems = load_frozenset = load_long4 = load_next_buffer = load_readonly_buffer = _refuse
    _instantiate = get_extension = _refuse  # of the opcodes INST, OBJ, EXT


def _count_opcodes(handler: Callable[[Any], None]) -> Callable[[Any], None]:
    def handle(unpickler: Any) -> None:
        unpickler._opcodes += 1
        require(unpickler._opcodes <= MAX_OPCODES, f"more than {MAX_OPCODES:,} operations")
        handler(unpickler)

    return handle


# The table of pickle names the handlers of the base class: look them up again, counted.
CheckpointUnpickler.dispatch = {
    opcode: _count_opcodes(getattr(CheckpointUnpickler, handler.__name__))
    for opcode, handler in pickle._Unpickler.dispatch.items()
}


class _BoundedReader:
    """Refuses to read beyond the end before anything is allocated for it."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self.readline = file.readline

    def read(self, count: int) -> bytes:
        if count > 1:
            require(count <= self._size - self._file.tell(), "more content than the file is large")
        return self._file.read(count)
