from __future__ import annotations

import time

import pytest

from benchmarks.clock import chosen_clock, clock, now
from benchmarks.pairs import time_in_turns


def test_waiting_is_no_computing() -> None:
    for name, low, high in (("wall", 0.05, 60.0), ("cpu", 0.0, 0.04)):
        with clock(name):
            assert chosen_clock() == name
            ((seconds,),) = time_in_turns(lambda: lambda: time.sleep(0.05), pairs=1, warmup=0)
        assert low <= seconds < high


def test_an_error_brings_the_former_clock_back() -> None:
    before = now()
    with pytest.raises(ZeroDivisionError), clock("cpu"):
        raise ZeroDivisionError
    assert chosen_clock() == "wall"
    assert now() >= before
