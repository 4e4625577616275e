"""Two contenders timed in turns, so that whatever else the machine does meets both alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

NOISE_LIMIT = 0.25
Work = Callable[[], Any]


class Row(NamedTuple):
    """One line of a report.

    Attributes:
        name: what was measured.
        unit: of `ours` and `peer`.
        ours: our number; of times the median.
        peer: the other's, None when there is no other.
        ratio: how many times better ours is; of times the median of the pairs' ratios.
        spread: first and third quartile of the pairs' ratios, None for a count.
        equal: that both were asserted to compute the same thing in this run; None without another.
        noise: quartile distance of the peer's times over their median, None for a count.
    """

    name: str
    unit: str
    ours: float
    peer: float | None = None
    ratio: float | None = None
    spread: tuple[float, float] | None = None
    equal: bool | None = None
    noise: float | None = None

    @property
    def is_noisy(self) -> bool:
        """Whether the peer's own times vary so much that the ratio says little."""
        return self.noise is not None and self.noise > NOISE_LIMIT


def count_row(name: str, unit: str, ours: float, peer: float | None) -> Row:
    """A row of two counts, of which the smaller is the better; a count of none is taken as one in the ratio."""
    if peer is None:
        return Row(name, unit, ours)
    return Row(name, unit, ours, peer, ratio=peer / max(ours, 1), equal=True)


def time_row(name: str, ours: Sequence[float], peer: Sequence[float] | None) -> Row:
    """A row of the seconds that both took in each pair, given in milliseconds."""
    milliseconds = 1000 * statistics.median(ours)
    if peer is None:
        return Row(name, "ms", milliseconds)
    ratios = [theirs / mine for mine, theirs in zip(ours, peer, strict=True)]
    return Row(
        name,
        "ms",
        milliseconds,
        1000 * statistics.median(peer),
        ratio=statistics.median(ratios),
        spread=quartiles(ratios),
        equal=True,
        noise=(quartiles(peer)[1] - quartiles(peer)[0]) / statistics.median(peer),
    )


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """First and third quartile; of a single value that value twice."""
    if len(values) == 1:
        return values[0], values[0]
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third


def time_in_turns(*preparations: Callable[[], Work], pairs: int, warmup: int) -> list[list[float]]:
    """Seconds of each contender's work, turn by turn.

    Args:
        *preparations: one a contender: makes the work of one turn, outside of the time that is taken.
        pairs: turns that count.
        warmup: turns before those.

    Returns:
        `pairs` numbers of seconds for each contender.
    """
    seconds: list[list[float]] = [[] for _ in preparations]
    for turn in range(-warmup, pairs):
        for taken, prepare in zip(seconds, preparations, strict=True):
            work = prepare()
            start = time.perf_counter()
            result = work()
            end = time.perf_counter()
            # Before the other's turn, which is to find the same memory free.
            del work, result
            if turn >= 0:
                taken.append(end - start)
    return seconds
