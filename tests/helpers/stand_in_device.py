"""A simulated GPU for machines without one.

Its tensors report `torch.device("meta")` and hold their values in CPU memory, where operations are computed. Operations
that mix devices raise an error as on a GPU, and operations that make the CPU wait for the device are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from tests.helpers.counters import reads_values

DEVICE = torch.device("meta")
_HOST = torch.device("cpu")
_FROM_DATA = (torch.tensor, torch.as_tensor)
# Their indices may be on the CPU: torch copies them.
_INDEXING = ("index", "index_put", "index_put_")


class _OnDevice(Tensor):
    """A tensor on the device; `values` is the CPU tensor with its values."""

    values: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, values: Tensor) -> _OnDevice:
        layout = dict(strides=values.stride(), storage_offset=values.storage_offset())
        found = Tensor._make_wrapper_subclass(cls, values.shape, dtype=values.dtype, device=DEVICE, **layout)
        found.values = values
        return found

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} outside of the stand-in")


class StandIn(TorchDispatchMode):
    """Runs the operations of the device.

    Attributes:
        waits: how often the CPU waited for which operation: reads of values, shapes that depend on values, blocking
            copies.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = func.overloadpacket.__name__, dict(kwargs or {})
        target = kwargs.get("device")
        if target is not None:
            kwargs["device"] = _HOST
        given = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        here = [value for value in given if isinstance(value, _OnDevice)]
        self._check(name, args, given, here)
        found = func(*_values(args), **_values(kwargs))
        self.waits[name] += bool(here) and reads_values(name, _values(args))
        self._count_copy(name, args, kwargs, target)
        if (target or (DEVICE if here else _HOST)) == _HOST and not (name == "copy_" and here):
            return found
        # An in-place operation returns the tensor that it was given.
        known = {id(value.values): value for value in here}
        return tree_map_only(Tensor, lambda value: known[id(value)] if id(value) in known else _OnDevice(value), found)

    def _check(self, name: str, args: Any, given: list[Tensor], here: list[_OnDevice]) -> None:
        on_host = [value for value in given if not isinstance(value, _OnDevice)]
        if any(value.device == DEVICE for value in on_host):
            raise NotImplementedError(f"{name}: a tensor of the device was made where the stand-in does not look")
        if name == "_to_copy" or name == "copy_" or not here:
            return
        if name in _INDEXING and isinstance(args[0], _OnDevice):
            self.waits["index copied"] += bool(on_host)
        elif any(value.dim() for value in on_host):
            raise RuntimeError(f"{name}: expected all tensors on one device, some are on the host")

    def _count_copy(self, name: str, args: Any, kwargs: dict[str, Any], target: Any) -> None:
        if name == "_to_copy" and target is not None:
            crosses, blocks = isinstance(args[0], _OnDevice) != (target == DEVICE), not kwargs.get("non_blocking")
        elif name == "copy_":
            crosses = isinstance(args[0], _OnDevice) != isinstance(args[1], _OnDevice)
            blocks = len(args) < 3 or not args[2]
        else:
            return
        self.waits["copied"] += crosses and blocks


class _FromPython(TorchFunctionMode):
    """Conversions between Python numbers and tensors, which dispatch modes do not see."""

    def __init__(self, stand_in: StandIn) -> None:
        super().__init__()
        self._stand_in = stand_in

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is Tensor.tolist and isinstance(args[0], _OnDevice):
            self._stand_in.waits["tolist"] += 1
            return args[0].values.tolist()
        if func is Tensor.__getitem__ and isinstance(args[1], list):
            return args[0][torch.tensor(args[1], dtype=torch.int64)]
        device = kwargs.get("device")
        if func in _FROM_DATA and device is not None and torch.device(device) == DEVICE:
            self._stand_in.waits["copied"] += 1
            return func(*args, **{**kwargs, "device": _HOST}).to(DEVICE, non_blocking=True)
        return func(*args, **kwargs)


def _values(tree: Any) -> Any:
    return tree_map_only(_OnDevice, lambda tensor: tensor.values, tree)


@contextmanager
def without_autocast() -> Iterator[None]:
    """Disable autocast, which does not support "meta"; mixed precision is not tested."""
    with mock.patch.multiple(
        torch, autocast=lambda *args, **options: nullcontext(), is_autocast_enabled=lambda *args: False
    ):
        yield


@contextmanager
def stand_in_device() -> Iterator[StandIn]:
    """Inside the context `DEVICE` is a device with values."""
    with without_autocast(), StandIn() as stand_in, _FromPython(stand_in):
        yield stand_in


def move(model: nn.Module) -> None:
    """Move a model to the device for good; it can predict there, not train."""
    for module in model.modules():
        for name, weights in module._parameters.items():
            if weights is not None:
                module._parameters[name] = nn.Parameter(_OnDevice(weights.detach()), requires_grad=False)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = _OnDevice(buffer)
    model._set_device(DEVICE)
