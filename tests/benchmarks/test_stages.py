"""Timers around functions, on a clock that the test sets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import stages
from benchmarks.stages import Stages, Timed


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(stages, "now", lambda: clock.now)
    return clock


def working(clock: SimpleNamespace) -> Any:
    """An object with an outer function of 3 s around an inner one of 5 s, which is called from outside too."""

    def inner() -> str:
        clock.now += 5
        return "inner"

    def outer() -> str:
        clock.now += 1
        result = owner.inner()
        clock.now += 2
        return f"outer {result}"

    owner = SimpleNamespace(inner=inner, outer=outer)
    return owner


def test_a_stage_inside_another_one_is_no_part_of_it(clock: SimpleNamespace) -> None:
    owner = working(clock)
    timers = Stages([Timed(owner, "inner", "inner"), Timed(owner, "outer", "outer")])
    with timers.timing(), timers.stage("rest"):
        assert owner.outer() == "outer inner"
        clock.now += 7
        owner.inner()
    assert timers.seconds == {"rest": 7, "outer": 3, "inner": 10}
    owner.outer()
    assert timers.seconds["outer"] == 3, "what runs later is not timed"
    timers.reset()
    assert not timers.seconds


def test_a_function_that_counts_within_a_stage_alone(clock: SimpleNamespace) -> None:
    owner = working(clock)
    timers = Stages([Timed(owner, "inner", "inner", within="outer"), Timed(owner, "outer", "outer")])
    with timers.timing(), timers.stage("rest"):
        owner.outer()
        owner.inner()
    assert timers.seconds == {"rest": 5, "outer": 3, "inner": 5}


def test_an_error_ends_its_stage(clock: SimpleNamespace) -> None:
    def fail() -> None:
        clock.now += 1
        raise ZeroDivisionError

    owner = SimpleNamespace(fail=fail)
    timers = Stages([Timed(owner, "fail", "failing")])
    with timers.timing(), timers.stage("rest"):
        with pytest.raises(ZeroDivisionError):
            owner.fail()
        clock.now += 2
    assert timers.seconds == {"rest": 2, "failing": 1}
    assert owner.fail is fail


def test_a_function_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="nothing"), Stages([Timed(SimpleNamespace(), "nothing", "x")]).timing():
        pass
