"""Timing: clocks, interleaved repetitions, progress, and timers around functions on a clock that the test sets."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import timing
from benchmarks.timing import Stages, TimedFunction, Work, now, selected_clock, time_interleaved, use_clock


def test_sleeping_takes_no_cpu_time() -> None:
    for name, low, high in (("wall", 0.05, 60.0), ("cpu", 0.0, 0.04)):
        with use_clock(name):
            assert selected_clock() == name
            ((seconds,),) = time_interleaved(lambda: lambda: time.sleep(0.05), repetitions=1, warmup=0)
        assert low <= seconds < high


def test_an_error_restores_the_clock() -> None:
    before = now()
    with pytest.raises(ZeroDivisionError), use_clock("cpu"):
        raise ZeroDivisionError
    assert selected_clock() == "wall"
    assert now() >= before


def test_repetitions_are_interleaved_and_preparation_is_not_timed() -> None:
    events: list[str] = []

    def implementation(name: str) -> Work:
        def prepare() -> Work:
            events.append(f"prepare {name}")
            time.sleep(0.02)
            return lambda: events.append(name)

        return prepare  # type: ignore[return-value]

    ours, theirs = time_interleaved(implementation("ours"), implementation("mmdet"), repetitions=2, warmup=1)  # type: ignore[arg-type]
    assert events == ["prepare ours", "ours", "prepare mmdet", "mmdet"] * 3
    assert len(ours) == len(theirs) == 2
    assert max(ours + theirs) < 0.02


def test_progress_of_a_long_measurement(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(timing, "PROGRESS_SECONDS", 0.0)
    time_interleaved(lambda: lambda: None, repetitions=1, warmup=1, name="step")
    time_interleaved(lambda: lambda: None, repetitions=1, warmup=1)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == ["step: 1 of 2", "step: 2 of 2"]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(timing, "now", lambda: clock.now)
    return clock


def working(clock: SimpleNamespace) -> Any:
    """An object with an outer function of 3 s around an inner one of 5 s, which is also called directly."""

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


def test_a_nested_stage_does_not_count_for_the_outer_one(clock: SimpleNamespace) -> None:
    owner = working(clock)
    timers = Stages([TimedFunction(owner, "inner", "inner"), TimedFunction(owner, "outer", "outer")])
    with timers.timing(), timers.stage("rest"):
        assert owner.outer() == "outer inner"
        clock.now += 7
        owner.inner()
    assert timers.seconds == {"rest": 7, "outer": 3, "inner": 10}
    owner.outer()
    assert timers.seconds["outer"] == 3, "later calls are not timed"
    timers.reset()
    assert not timers.seconds


def test_a_function_that_counts_within_one_stage(clock: SimpleNamespace) -> None:
    owner = working(clock)
    timers = Stages([TimedFunction(owner, "inner", "inner", within="outer"), TimedFunction(owner, "outer", "outer")])
    with timers.timing(), timers.stage("rest"):
        owner.outer()
        owner.inner()
    assert timers.seconds == {"rest": 5, "outer": 3, "inner": 5}


def test_an_error_ends_its_stage(clock: SimpleNamespace) -> None:
    def fail() -> None:
        clock.now += 1
        raise ZeroDivisionError

    owner = SimpleNamespace(fail=fail)
    timers = Stages([TimedFunction(owner, "fail", "failing")])
    with timers.timing(), timers.stage("rest"):
        with pytest.raises(ZeroDivisionError):
            owner.fail()
        clock.now += 2
    assert timers.seconds == {"rest": 2, "failing": 1}
    assert owner.fail is fail


def test_a_missing_function_is_an_error() -> None:
    timers = Stages([TimedFunction(SimpleNamespace(), "nothing", "x")])
    with pytest.raises(AttributeError, match="nothing"), timers.timing():
        pass
