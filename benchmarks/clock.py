"""Which seconds are counted: those that pass, or those that this process computes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
_chosen = ["wall"]


def now() -> float:
    """Seconds on the chosen clock."""
    return CLOCKS[_chosen[-1]]()


def chosen_clock() -> str:
    """Its name."""
    return _chosen[-1]


@contextmanager
def clock(name: str) -> Iterator[None]:
    """Within it this clock is chosen.

    Args:
        name: "wall"; or "cpu" for the time of all threads of this process, which other programs hardly disturb, but
            which sees neither the work of an accelerator nor that of a loader's workers.
    """
    _chosen.append(name)
    try:
        yield
    finally:
        _chosen.pop()
