"""A pickle reader for checkpoints that runs no code and builds no object whose content a file could forge.

`torch.load(weights_only=True)` and unpicklers with an allow-list call real constructors: `numpy.dtype` takes flags that
turn bytes into pointers, `torch.FloatTensor(n)` returns uninitialised memory, `bytes(10**9)` allocates it. Here every
name in a pickle stands for a function or record of `pickled_types`, which checks types and sizes before it allocates.
Memory is bounded by the size of the file, time by `MAX_OPCODES` and `MAX_VALUES`.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, BinaryIO, NoReturn

import torch
from torch import Tensor

from solo.checkpoints.pickled_types import (
    FUNCTIONS,
    HISTORY,
    MARKERS,
    PLAIN_TYPES,
    STORAGE_TYPES,
    CodeRefusedError,
    Function,
    History,
    Marker,
    NumpyArray,
    NumpyDtype,
    Storage,
    check_key,
    is_metadata,
    require,
)

MAX_OPCODES = 2_000_000
MAX_VALUES = 2_000_000  # Counted with repetitions: a value that is referred to twice counts twice.
MAX_DEPTH = 64
SLACK_BYTES = 1 << 20


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
            require(name in STORAGE_TYPES, f"a {name}; expected real numbers")
            return STORAGE_TYPES[name]
        if full_name in MARKERS:
            return Marker(full_name)
        functions: dict[str, Any] = {**FUNCTIONS, "_codecs.encode": self._encode, "builtins.tuple": self._tuple}
        if full_name in functions:
            return Function(full_name, functions[full_name])
        if module == "torch._utils" or full_name.startswith("torch.nested"):
            raise pickle.UnpicklingError(f"it holds a sparse, quantised, nested or empty tensor ({name})")
        raise CodeRefusedError(full_name)

    def persistent_load(self, pid: Any) -> Storage:
        """The storage that a tensor refers to: ("storage", type, key, device, number of elements, ...)."""
        require(self._load_storage is not None, "objects outside the file")
        require(isinstance(pid, tuple) and len(pid) in (5, 6) and pid[0] == "storage", "an odd storage")
        _, dtype, key, _, count, *view = pid
        require(isinstance(dtype, torch.dtype) and isinstance(key, (str, int)), "an odd storage")
        require(type(count) is int and count >= 0 and not any(view), "an odd storage")
        assert self._load_storage is not None
        return Storage(self._load_storage(key, count * dtype.itemsize), dtype)

    def charge(self, count: int) -> None:
        """Count bytes that are about to be allocated.

        Raises:
            UnpicklingError: they exceed what a file of this size can hold.
        """
        self._budget -= count
        require(self._budget >= 0, "more content than the file is large")

    def _encode(self, text: Any, encoding: Any = None) -> bytes:
        """How protocols 0 to 2 write bytes."""
        require(type(text) is str and encoding in ("latin1", "latin-1"), f"bytes encoded as {encoding!r}"[:80])
        self.charge(len(text))
        return text.encode("latin1")

    def _tuple(self, values: Any = ()) -> tuple[Any, ...]:
        """How Paddle wraps a named array."""
        require(type(values) in (tuple, list), f"tuple({type(values).__name__})")
        self.charge(8 * len(values))
        return tuple(values)

    def _to_plain(self, value: Any, *, depth: int) -> Any:
        """Replace the records of arrays by tensors; bound depth and size, repetitions counted."""
        self._values += 1
        require(self._values <= MAX_VALUES and depth <= MAX_DEPTH, "values that are nested or repeated too often")
        if isinstance(value, dict):
            for key, item in value.items():
                value[key] = self._to_plain(item, depth=depth + 1)
        elif type(value) is list:
            for index, item in enumerate(value):
                value[index] = self._to_plain(item, depth=depth + 1)
        elif type(value) is tuple:
            return tuple(self._to_plain(item, depth=depth + 1) for item in value)
        elif isinstance(value, NumpyArray):
            return value.to_tensor(self.charge)
        elif isinstance(value, History):
            return value.to_history(self.charge)
        else:
            require(isinstance(value, PLAIN_TYPES), f"a {type(value).__name__} instead of a value")
        return value

    # ------------------------------------------------------------------- opcodes whose default handler checks nothing
    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        require(isinstance(function, Function) and isinstance(arguments, tuple), "a call of something else")
        self.append(function.call(*arguments))

    def load_newobj(self) -> None:
        arguments, kind = self.stack.pop(), self.stack.pop()
        require(kind == Marker(HISTORY) and arguments == (), "an object")
        self.append(History())

    def load_build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if type(target) is OrderedDict:
            metadata = state.get("_metadata") if isinstance(state, dict) else None
            if is_metadata(metadata):
                target._metadata = metadata  # type: ignore[attr-defined]
            return
        require(isinstance(target, (NumpyDtype, NumpyArray, History)), "an object with a state")
        target.set_state(state)

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

    def load_append(self) -> None:
        self._extend([self.stack.pop()])

    def load_appends(self) -> None:
        self._extend(self.pop_mark())

    def _extend(self, items: list[Any]) -> None:
        require(type(self.stack[-1]) is list, "items of something else than a list")
        self.stack[-1].extend(items)

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
