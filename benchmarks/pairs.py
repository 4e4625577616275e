"""Two contenders timed in turns, so that whatever else the machine does meets both alike."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from mmengine.dist import is_main_process

from benchmarks.clock import now
from tests.helpers.counters import peak_bytes

NOISE_LIMIT = 0.25
PROGRESS_SECONDS = 10.0
"""A timing that takes longer tells after each so many seconds how far it is."""
Work = Callable[[], Any]


class Row(NamedTuple):
    """One line of a report.

    Attributes:
        name: what was measured.
        unit: of `ours`, `peer` and the 95th percentiles.
        ours: our number; of times and rates the median.
        peer: the other's, None when there is no other.
        ratio: how many times better ours is; of times and rates the median of the pairs' ratios.
        spread: first and third quartile of the pairs' ratios, None for a count.
        equal: that both were asserted to compute the same thing in this run; None without another.
        noise: quartile distance of our values over their median; 0 for an exact count, None where it is not known,
            as of a single value.
        peer_noise: the same of the peer's values.
        p95: 95th percentile of our times, None for what is no time.
        peer_p95: the same of the peer's times.
    """

    name: str
    unit: str
    ours: float
    peer: float | None = None
    ratio: float | None = None
    spread: tuple[float, float] | None = None
    equal: bool | None = None
    noise: float | None = None
    peer_noise: float | None = None
    p95: float | None = None
    peer_p95: float | None = None

    @property
    def is_noisy(self) -> bool:
        """Whether values of one side vary so much that the figure says little."""
        return max(self.noise or 0.0, self.peer_noise or 0.0) > NOISE_LIMIT


def count_row(name: str, unit: str, ours: float, peer: float | None = None) -> Row:
    """A row of two counts, of which the smaller is the better; a count of none is taken as one in the ratio."""
    if peer is None:
        return Row(name, unit, ours, noise=0.0)
    return Row(name, unit, ours, peer, ratio=peer / max(ours, 1), equal=True, noise=0.0, peer_noise=0.0)


def time_row(name: str, ours: Sequence[float], peer: Sequence[float] | None = None) -> Row:
    """A row of the seconds that both took in each pair, given in milliseconds."""
    row = _row(name, "ms", [1000 * seconds for seconds in ours], peer and [1000 * taken for taken in peer])
    return row._replace(p95=1000 * percentile(ours, 95), peer_p95=None if peer is None else 1000 * percentile(peer, 95))


def rate_row(name: str, unit: str, ours: Sequence[float], peer: Sequence[float] | None = None) -> Row:
    """A row of two rates in each pair, of which the larger is the better."""
    return _row(name, unit, ours, peer, larger_is_better=True)


def _row(
    name: str, unit: str, ours: Sequence[float], peer: Sequence[float] | None, *, larger_is_better: bool = False
) -> Row:
    row = Row(name, unit, statistics.median(ours), noise=noise_of(ours))
    if peer is None:
        return row
    # A stage that one side does not have takes no time there: a ratio to nothing says nothing.
    pairs = [(mine, theirs) for mine, theirs in zip(ours, peer, strict=True) if mine > 0 and theirs > 0]
    ratios = [mine / theirs if larger_is_better else theirs / mine for mine, theirs in pairs]
    return row._replace(
        peer=statistics.median(peer),
        ratio=statistics.median(ratios) if ratios else None,
        spread=quartiles(ratios) if ratios else None,
        equal=True,
        peer_noise=noise_of(peer),
    )


def noise_of(values: Sequence[float]) -> float | None:
    """Quartile distance over the median; None of a single value, or of a median of 0."""
    first, third = quartiles(values)
    median = statistics.median(values)
    return (third - first) / median if median and len(values) > 1 else None


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that `percent` of the values do not exceed, interpolated between its neighbours."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """First and third quartile; of a single value that value twice."""
    if len(values) == 1:
        return values[0], values[0]
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third


def time_in_turns(
    *preparations: Callable[[], Work], pairs: int, warmup: int, name: str | None = None
) -> list[list[float]]:
    """Seconds of each contender's work, turn by turn; work on an accelerator is waited for.

    Args:
        *preparations: one a contender: makes the work of one turn, outside of the time that is taken.
        pairs: turns that count.
        warmup: turns before those.
        name: what is timed, for the progress of a long one on stderr; None for none.

    Returns:
        `pairs` numbers of seconds for each contender.
    """
    seconds: list[list[float]] = [[] for _ in preparations]
    progress = Progress(name, total=warmup + pairs)
    for turn in range(-warmup, pairs):
        for taken, prepare in zip(seconds, preparations, strict=True):
            work = prepare()
            wait_for_device()
            start = now()
            result = work()
            wait_for_device()
            end = now()
            # Before the other's turn, which is to find the same memory free.
            del work, result
            if turn >= 0:
                taken.append(end - start)
        progress.done(turn + warmup + 1)
    return seconds


def wait_for_device() -> None:
    """Until the accelerator has done what was asked of it; nothing where none is in use."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def peak_memory(work: Callable[[], Any]) -> int:
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
    """Tells on stderr how far something long is, every `PROGRESS_SECONDS`.

    Args:
        name: what is long; None to tell nothing.
        total: of the parts.
    """

    def __init__(self, name: str | None, *, total: int) -> None:
        self._name, self._total = name if is_main_process() else None, total
        self._start = self._told = time.perf_counter()

    def done(self, parts: int) -> None:
        """So many parts are done."""
        passed = time.perf_counter()
        if self._name is not None and passed - self._told >= PROGRESS_SECONDS:
            seconds = passed - self._start
            print(f"{self._name}: {parts} of {self._total}, {seconds:.0f} s", file=sys.stderr, flush=True)
            self._told = passed
