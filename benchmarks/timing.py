"""Timing: a choice of clock, interleaved repetitions of both implementations, and timers around functions."""

from __future__ import annotations

import functools
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest import mock

import torch
from mmengine.dist import is_main_process

from tests.helpers.counters import peak_bytes

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
PROGRESS_SECONDS = 10.0
"""A measurement that takes longer prints its progress at this interval."""
Work = Callable[[], Any]
_selected = ["wall"]


def now() -> float:
    """Seconds on the selected clock."""
    return CLOCKS[_selected[-1]]()


def selected_clock() -> str:
    """Name of the selected clock."""
    return _selected[-1]


@contextmanager
def use_clock(name: str) -> Iterator[None]:
    """Select a clock.

    Args:
        name: "wall", or "cpu" for the CPU time of all threads of this process: other programs hardly disturb it, but
            it misses the work of an accelerator and of loader workers.
    """
    _selected.append(name)
    try:
        yield
    finally:
        _selected.pop()


def time_interleaved(
    *preparations: Callable[[], Work], repetitions: int, warmup: int, name: str | None = None
) -> list[list[float]]:
    """Time each implementation's work in interleaved repetitions, so that both meet the same state of the machine.

    Args:
        *preparations: one per implementation; prepares the work of a repetition, untimed.
        repetitions: timed repetitions.
        warmup: untimed repetitions before those.
        name: what is timed, for progress messages on stderr; None prints none.

    Returns:
        `repetitions` numbers of seconds for each implementation. Work on an accelerator is waited for.
    """
    seconds: list[list[float]] = [[] for _ in preparations]
    progress = Progress(name, total=warmup + repetitions)
    for repetition in range(-warmup, repetitions):
        for taken, prepare in zip(seconds, preparations, strict=True):
            work = prepare()
            wait_for_device()
            start = now()
            result = work()
            wait_for_device()
            end = now()
            # Free the memory before the other implementation runs.
            del work, result
            if repetition >= 0:
                taken.append(end - start)
        progress.done(repetition + warmup + 1)
    return seconds


def wait_for_device() -> None:
    """Wait for the accelerator if one is in use."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def peak_memory(work: Work) -> int:
    """Most bytes that `work` takes on top of what is allocated: as the GPU counts them, or `peak_bytes` on the CPU."""
    if not (torch.cuda.is_available() and torch.cuda.is_initialized()):
        return peak_bytes(work)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


class Progress:
    """Print the progress of a long measurement on stderr, every `PROGRESS_SECONDS`.

    Args:
        name: of the measurement; None prints nothing.
        total: number of its parts.
    """

    def __init__(self, name: str | None, *, total: int) -> None:
        self._name, self._total = name if is_main_process() else None, total
        self._start = self._printed = time.perf_counter()

    def done(self, parts: int) -> None:
        """State how many parts are done."""
        reached = time.perf_counter()
        if self._name is not None and reached - self._printed >= PROGRESS_SECONDS:
            print(f"{self._name}: {parts} of {self._total}, {reached - self._start:.0f} s", file=sys.stderr, flush=True)
            self._printed = reached


class TimedFunction(NamedTuple):
    """A function to put a timer around.

    Attributes:
        owner: the module, class or object that holds it.
        name: its name there.
        stage: the stage that its time belongs to.
        within: count it only while this stage runs; None for always.
    """

    owner: Any
    name: str
    stage: str
    within: str | None = None


class Stages:
    """Seconds by stage; time of a nested stage does not count for the outer one.

    The timers wait for an accelerator at each stage boundary, so the total has to be measured without them.

    Args:
        functions: functions to time.

    Attributes:
        functions: functions to time.
        seconds: of each stage since the last `reset`.
    """

    def __init__(self, functions: Sequence[TimedFunction]) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.functions = list(functions)
        self._running: list[str] = []
        self._since = 0.0

    def reset(self) -> None:
        """Clear the seconds."""
        self.seconds.clear()

    @contextmanager
    def timing(self) -> Iterator[None]:
        """Patch the timers around the functions.

        Raises:
            AttributeError: an owner has no function of that name.
        """
        with ExitStack() as patches:
            for function in self.functions:
                timer = self._timer(getattr(function.owner, function.name), function.stage, function.within)
                patches.enter_context(mock.patch.object(function.owner, function.name, timer))
            yield

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as this stage."""
        self._charge()
        self._running.append(name)
        try:
            yield
        finally:
            self._charge()
            self._running.pop()

    def _charge(self) -> None:
        wait_for_device()
        reached = now()
        if self._running:
            self.seconds[self._running[-1]] += reached - self._since
        self._since = reached

    def _timer(self, function: Callable[..., Any], stage: str, within: str | None) -> Callable[..., Any]:
        @functools.wraps(function, updated=())
        def timed(*args: Any, **kwargs: Any) -> Any:
            if within is not None and (not self._running or self._running[-1] != within):
                return function(*args, **kwargs)
            with self.stage(stage):
                return function(*args, **kwargs)

        return timed
