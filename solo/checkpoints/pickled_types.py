"""What the names in the pickle of a checkpoint stand for: functions that check their arguments before they build.

All raise `pickle.UnpicklingError` for odd arguments.
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
UNFILLED = torch.complex128  # Marks an array that the pickle has created but not filled; none of DTYPES.
HISTORY = "mmengine.logging.history_buffer.HistoryBuffer"
_NUMPY_DTYPE = re.compile(r"[<>|=]?(f[248]|[iu][1248]|b1)")
_HISTORY_STATISTICS = ("min", "max", "current", "mean")


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


def _scalar(dtype: Any, content: Any = b"") -> Any:
    return to_numbers(content, dtype, ()).item()


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
    if owner != Name(HISTORY) or name not in _HISTORY_STATISTICS:
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
    "numpy.core.multiarray.scalar": _scalar,
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
