"""Counting what a piece of code asks of torch: numbers without noise, which foretell its time on an accelerator."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# What reads values, or has a result whose shape depends on them.
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
    """Context that counts torch's operations, forward and backward, of the thread that enters it.

    Attributes:
        kernels: operations by name that compute; on an accelerator each is at least one launch.
        views: operations by name whose result is but another view of their input's memory.
        host_syncs: names of the operations for which the host would wait for an accelerator, in order.
        host_to_device: copies from the CPU to another device.
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
        if name in ("_to_copy", "copy_") and _is_on_host(args[-1] if name == "copy_" else args[0]):
            self.host_to_device += not _is_on_host(result)
        return result


def reads_values(name: str, args: Any) -> bool:
    """Whether the host waits for an operation of torch with these arguments, to know a value or a shape."""
    if not name.startswith(("index", "_index")):
        return name in SYNCING
    indices = (index for argument in args if isinstance(argument, (list, tuple)) for index in argument)
    return any(isinstance(index, torch.Tensor) and index.dtype in (torch.bool, torch.uint8) for index in indices)


def _is_on_host(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.device.type == "cpu"


def peak_bytes(work: Callable[[], Any]) -> int:
    """Run something and measure the most bytes of tensors made by it that were alive at once.

    Exact and repeatable: every result of an operation, forward and backward, until its memory is given back. What an
    operation takes and gives back within itself is not seen, nor is what numpy and OpenCV take.
    """
    tracker = LiveBytes()
    with tracker:
        result = work()
    del result
    return tracker.peak


def peak_memory(work: Callable[[], Any]) -> int:
    """The most bytes that something takes on top of what was there: `peak_bytes`, or what the GPU in use counts."""
    if not (torch.cuda.is_available() and torch.cuda.is_initialized()):
        return peak_bytes(work)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


class LiveBytes(TorchDispatchMode):
    """Context in which `peak` grows to the most bytes that tensors made inside of it hold at once."""

    def __init__(self) -> None:
        super().__init__()
        self.current = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # What was there before is no result of the work, though a view of it comes back.
        for tensor in tree_leaves((args, kwargs)):
            if isinstance(tensor, torch.Tensor):
                self._watch(tensor.untyped_storage(), counts=False)
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._watch(tensor.untyped_storage(), counts=True)
        return result

    def _watch(self, storage: torch.UntypedStorage, *, counts: bool) -> None:
        # The storage's own address: Python's objects for it come and go.
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
