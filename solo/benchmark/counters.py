"""Counting what a piece of code asks of torch: numbers without noise, which foretell its time on an accelerator."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

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
        if name in SYNCING or _indexes_by_mask(name, args):
            self.host_syncs.append(name)
        result = func(*args, **(kwargs or {}))
        if name in ("_to_copy", "copy_") and _is_on_host(args[-1] if name == "copy_" else args[0]):
            self.host_to_device += not _is_on_host(result)
        return result


def _indexes_by_mask(name: str, args: Any) -> bool:
    return name.startswith(("index", "_index")) and any(
        isinstance(index, torch.Tensor) and index.dtype in (torch.bool, torch.uint8)
        for argument in args
        if isinstance(argument, (list, tuple))
        for index in argument
    )


def _is_on_host(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.device.type == "cpu"


def peak_bytes(work: Callable[[], Any]) -> int:
    """Run something and measure the most memory that torch's CPU allocator had given out at once, on top of before.

    Exact, and it holds the temporaries inside operations too; not what numpy, OpenCV or the kernels' own libraries
    allocate.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "5")
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = work()
    del result
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    changes = [event for event in events if event["name"] == "[memory]" and event["args"]["Device Type"] == 0]
    current = peak = 0
    for event in sorted(changes, key=lambda event: event["args"]["Ev Idx"]):
        current += event["args"]["Bytes"]
        peak = max(peak, current)
    return peak
