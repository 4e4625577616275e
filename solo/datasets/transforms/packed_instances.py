"""The objects of a sample, in the form in which they leave a loader's worker."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.structures import InstanceData

from solo.masks.mask_windows import MaskWindows


class PackedInstances(InstanceData):
    """`InstanceData` that is pickled by value: a few kilobytes, written into the worker's pipe in one go.

    Tensors would be sent through shared memory, a file each: for such small ones that took three times as long in both
    processes as everything else of a sample but its image.
    """

    @classmethod
    def of(cls, **fields: Any) -> PackedInstances:
        """Hold fields that are known to be of one length and of names that are free: what setting one checks."""
        instances = cls()
        instances._data_fields.update(fields)
        instances.__dict__.update(fields)
        return instances

    def __reduce__(self) -> tuple[Any, ...]:
        fields = {name: _to_arrays(value) for name, value in self.items()}
        return _from_arrays, (type(self), self.metainfo, fields)


def _from_arrays(cls: type[PackedInstances], metainfo: dict[str, Any], fields: dict[str, Any]) -> PackedInstances:
    return cls(metainfo=metainfo, **{name: _to_tensors(value) for name, value in fields.items()})


def _to_arrays(value: Any) -> Any:
    """What becomes tensors again is marked by its type; other values stay as they are."""
    if isinstance(value, torch.Tensor) and value.device.type == "cpu":
        return torch.Tensor, value.numpy()
    if isinstance(value, MaskWindows) and value.device.type == "cpu":
        return MaskWindows, (value.size, value.windows.numpy(), value.starts.numpy(), value.bits.numpy())
    return None, value


def _to_tensors(marked: tuple[Any, Any]) -> Any:
    kind, value = marked
    if kind is torch.Tensor:
        return torch.from_numpy(value)
    if kind is MaskWindows:
        size, *arrays = value
        windows, starts, bits = map(torch.from_numpy, arrays)
        return MaskWindows(size=size, windows=windows, starts=starts, bits=bits)
    return value
