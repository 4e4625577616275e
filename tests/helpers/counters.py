"""Exact counts of what code asks of torch: operations, host synchronisations and bytes alive at once."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Operations that read values, or whose result has a shape that depends on values.
SYNCING = {
    "_local_scalar_dense",
    "_unique2",
    "equal",
    "is_nonzero",
    "item",
    "masked_select",
    "nonzero",
    "unique_consecutive",
    "unique_dim",
}


class OperationCounter(TorchDispatchMode):
    """Count the operations, forward and backward, of the thread that enters this context.

    Attributes:
        kernels: count by name of the operations that compute; on an accelerator each is at least one kernel launch.
        views: count by name of the operations whose result shares its input's memory.
        host_syncs: names, in order, of the operations for which the host would wait for an accelerator.
        host_to_device: number of copies from the CPU to another device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kernels: Counter[str] = Counter()
        self.views: Counter[str] = Counter()
        self.host_syncs: list[str] = []
        self.host_to_device = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        (self.views if func.is_view else self.kernels)[name] += 1
        if reads_values(name, args):
            self.host_syncs.append(name)
        result = func(*args, **(kwargs or {}))
        if name in ("_to_copy", "copy_") and _is_on_cpu(args[-1] if name == "copy_" else args[0]):
            self.host_to_device += not _is_on_cpu(result)
        return result


def reads_values(name: str, args: Any) -> bool:
    """Whether the host has to wait for this operation, to know a value or a shape.

    Args:
        name: overload packet of the operation, such as "index".
        args: its positional arguments; boolean indices have a result of unknown shape.
    """
    if not name.startswith(("index", "_index")):
        return name in SYNCING
    indices = (index for argument in args if isinstance(argument, (list, tuple)) for index in argument)
    return any(isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8) for index in indices)


def _is_on_cpu(value: Any) -> bool:
    return isinstance(value, Tensor) and value.device.type == "cpu"


class LiveBytes(TorchDispatchMode):
    """Track the bytes of tensors created inside this context; `peak` is the most that were alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.current = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # Inputs from before the context do not count, even when a view of them is a result.
        for tensor in tree_leaves((args, kwargs)):
            if isinstance(tensor, Tensor):
                self._watch(tensor.untyped_storage(), counts=False)
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._watch(tensor.untyped_storage(), counts=True)
        return result

    def _watch(self, storage: torch.UntypedStorage, *, counts: bool) -> None:
        # Identify a storage by its own address: its Python objects come and go.
        address, size = storage._cdata, storage.nbytes()
        if address in self.known:
            return
        self.known.add(address)
        size *= counts
        self.current += size
        self.peak = max(self.peak, self.current)
        weakref.finalize(storage, self._forget, address, size)

    def _forget(self, address: int, size: int) -> None:
        self.known.discard(address)
        self.current -= size


def peak_bytes(work: Callable[[], Any]) -> int:
    """Run `work` and return the most bytes of tensors created by it that were alive at once.

    The count is exact and repeatable: it has every result of an operation, forward and backward, until it is freed.
    Memory that an operation uses internally is not seen, nor is that of numpy and OpenCV.
    """
    tracker = LiveBytes()
    with tracker:
        result = work()
    del result
    return tracker.peak


class _Constant(nn.Module):
    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.value


@contextmanager
def fixed_features(model: BaseModel, features: Sequence[Tensor]) -> Iterator[None]:
    """Make `features` the output of the model's backbone and neck, so that a count covers what follows them."""
    backbone, neck = model.backbone, model.neck
    model.backbone, model.neck = _Constant(features), _Constant(features)
    try:
        yield
    finally:
        model.backbone, model.neck = backbone, neck
