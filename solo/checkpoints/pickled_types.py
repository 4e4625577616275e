"""What the names in the pickle of a checkpoint stand for: functions and records that check before they build.

Arrays and histories are recorded when the pickle creates them, and built when their content is complete. All functions
raise `pickle.UnpicklingError` for odd arguments.
"""

from __future__ import annotations

import pickle
import re
from collections import Counter, OrderedDict
from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

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
_NUMPY_DTYPE = re.compile(r"f[248]|[iu][1248]|b1")

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


def require(condition: Any, found: str) -> None:
    if not condition:
        raise pickle.UnpicklingError(f"it holds {found}")


def check_key(key: Any) -> Any:
    """A key of a dict or member of a set, when it is a string or a number: hashing anything else may not end."""
    require(type(key) in (str, int, float, bool, type(None)), f"a key that is a {type(key).__name__}")
    require(not isinstance(key, str) or len(key) <= MAX_KEY_LENGTH, f"a key of more than {MAX_KEY_LENGTH} letters")
    return key


def check_sizes(values: Any) -> tuple[int, ...]:
    is_sizes = isinstance(values, (tuple, list)) and all(type(value) is int and 0 <= value < 2**62 for value in values)
    require(is_sizes and len(values) <= MAX_DIMENSIONS, "a shape that is not made of whole numbers")
    return tuple(values)


class NumpyDtype:
    def __init__(self, text: Any, *_: Any) -> None:
        self.text, self.byte_order = text, "<"

    def set_state(self, state: Any) -> None:
        require(isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "|", "="), "an odd dtype")
        self.byte_order = state[1]

    def to_numpy(self) -> np.dtype[Any]:
        """The dtype of plain numbers with this text; flags, fields and metadata of the file are ignored."""
        text = self.text.lstrip("<>|=") if isinstance(self.text, str) else ""
        require(_NUMPY_DTYPE.fullmatch(text), f"an array of type {self.text!r}"[:80])
        order = self.text[0] if self.text[0] in "<>|=" else self.byte_order
        return np.dtype(order + text)


class NumpyArray:
    """A numpy array as recorded; `to_tensor` builds it from the bytes."""

    def __init__(self) -> None:
        self.state: Any = None
        self.tensor: Tensor | None = None

    def set_state(self, state: Any) -> None:
        require(isinstance(state, tuple) and len(state) == 5, "an array without content")
        self.state = state[1:]

    def to_tensor(self, charge: Callable[[int], None]) -> Tensor:
        if self.tensor is None:
            require(self.state is not None, "an array without content")
            shape, dtype, is_fortran, content = self.state
            flat = _numbers(dtype, content, check_sizes(shape))
            charge(flat.nbytes)
            array = flat.reshape(shape, order="F" if is_fortran else "C")
            self.tensor = torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))
        return self.tensor


class History:
    """A HistoryBuffer of mmengine as recorded."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}

    def set_state(self, state: Any) -> None:
        require(isinstance(state, dict), "a history without content")
        self.state = state

    def to_history(self, charge: Callable[[int], None]) -> HistoryBuffer:
        """The history; functions that the file gives for its statistics are ignored."""
        arrays = [self.state.get(name) for name in ("_log_history", "_count_history")]
        tensors = [array.to_tensor(charge) for array in arrays if isinstance(array, NumpyArray)]
        require(len(tensors) == 2, "a history without content")
        return build_history(tensors[0], tensors[1], self.state.get("max_length"))


def build_history(values: Tensor, counts: Tensor, max_length: Any) -> HistoryBuffer:
    """A HistoryBuffer of mmengine from logged values (N,), the counts they are averaged over (N,), and its length."""
    require(values.ndim == 1 and values.shape == counts.shape, "a history whose values and counts differ in number")
    require(type(max_length) is int and max_length > 0, "a history without a length")
    history = HistoryBuffer(max_length=max_length)
    history._log_history, history._count_history = values.numpy(), counts.numpy()
    return history


def _numbers(dtype: Any, content: Any, shape: tuple[int, ...]) -> np.ndarray:
    """The flat array of a recorded dtype and bytes, once their number is that of the shape."""
    require(isinstance(dtype, NumpyDtype) and isinstance(content, (bytes, str)), "an array without bytes")
    content = content.encode("latin1") if isinstance(content, str) else content
    plain = dtype.to_numpy()
    expected = prod(shape) * plain.itemsize
    require(expected == len(content), f"an array of {shape} with {len(content)} bytes instead of {expected}"[:200])
    return np.frombuffer(content, plain)


def _scalar(dtype: Any, content: Any = b"") -> Any:
    return _numbers(dtype, content, ()).reshape(()).item()


def _reconstruct(kind: Any, shape: Any, code: Any) -> NumpyArray:
    require(kind == Marker("numpy.ndarray"), "an array of another class")
    return NumpyArray()


def _from_buffer(content: Any, dtype: Any, shape: Any, order: Any) -> NumpyArray:
    array = NumpyArray()
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
    require(isinstance(storage, Storage), "a tensor without storage")
    require(not any(value for value in more if not isinstance(value, torch.dtype)), "a tensor with metadata")
    dtype = dtype or storage.dtype
    require(dtype in DTYPES, f"a tensor of type {dtype}; expected real numbers")
    size, stride, (offset,) = check_sizes(size), check_sizes(stride), check_sizes((offset,))
    require(len(size) == len(stride), "a tensor whose size and stride differ in length")
    if 0 in size:
        return torch.empty(size, dtype=dtype)
    available = storage.content.numel()
    end = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True)) + 1
    count = prod(size) * dtype.itemsize
    require(end * dtype.itemsize <= available, f"a tensor of {size} beyond the end of its {available} bytes"[:200])
    require(count <= max(available, EXPANDED_BYTES), f"a tensor of {size} on {available} bytes"[:200])
    return torch.empty(0, dtype=dtype).set_(storage.content.untyped_storage(), offset, size, stride)


def _parameter(tensor: Any, *_: Any) -> Tensor:
    require(isinstance(tensor, Tensor), "a parameter without tensor")
    return tensor


def _from_type(rebuild: Any, kind: Any, arguments: Any, state: Any) -> Tensor:
    """A tensor with attributes, which are ignored."""
    require(isinstance(rebuild, Function) and rebuild.name.startswith("torch._utils."), "an odd tensor")
    return rebuild.call(*arguments)


def _statistic(owner: Any, name: Any) -> None:
    """The one use of `getattr`: a history names its own four statistics, which are not taken from the file."""
    if owner != Marker(HISTORY) or name not in _HISTORY_STATISTICS:
        raise CodeRefusedError("builtins.getattr")


def _ordered_dict(pairs: Any = ()) -> OrderedDict[Any, Any]:
    require(isinstance(pairs, (list, tuple)) and all(len(pair) == 2 for pair in pairs), "an odd OrderedDict")
    return OrderedDict((check_key(key), value) for key, value in pairs)


def _counter(counts: Any = None) -> Counter[Any]:
    require(isinstance(counts, dict) and all(type(count) is int for count in counts.values()), "an odd Counter")
    return Counter(counts)


def _set(members: Any = ()) -> set[Any]:
    require(isinstance(members, (list, tuple)), "an odd set")
    return set(map(check_key, members))


def _bytes() -> bytes:
    return b""


def _size(size: Any = ()) -> torch.Size:
    return torch.Size(check_sizes(size))


def _device(kind: Any, index: Any = None) -> torch.device:
    require(isinstance(kind, str) and (index is None or type(index) is int), "an odd device")
    return torch.device(kind) if index is None else torch.device(kind, index)


def is_metadata(metadata: Any) -> bool:
    """Whether these are the versions of modules that torch keeps beside a state dict."""
    return isinstance(metadata, dict) and all(
        isinstance(versions, dict) and all(type(version) is int for version in versions.values())
        for versions in metadata.values()
    )


HISTORY = "mmengine.logging.history_buffer.HistoryBuffer"
MARKERS = (HISTORY, "numpy.ndarray", "torch.Tensor", "torch._tensor.Tensor", "torch.nn.parameter.Parameter")
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "numpy.dtype": NumpyDtype,
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
PLAIN_TYPES = (str, int, float, bool, bytes, type(None), set, frozenset, Tensor, torch.dtype, torch.device, torch.Size)
