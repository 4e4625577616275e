"""Signals that arrive while results are written."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from solo.inference.writers.interruption import SIGNALS, finish_before_signals


class ReceivedError(Exception):
    """What the handlers raise."""


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    def receive(number: int, frame: object) -> None:
        raise ReceivedError(number)

    before = {number: signal.signal(number, receive) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_waits_for_the_end(number: signal.Signals) -> None:
    written: list[int] = []
    with pytest.raises(ReceivedError, match=str(int(number))), finish_before_signals():
        signal.raise_signal(number)
        written.append(1)
    assert written == [1]
    with pytest.raises(ReceivedError):
        signal.raise_signal(number)


def test_a_second_signal_does_not_wait() -> None:
    written: list[int] = []
    with pytest.raises(ReceivedError, match=str(int(signal.SIGTERM))), finish_before_signals():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        written.append(1)
    assert not written


def test_without_a_signal_the_handlers_are_as_before() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with finish_before_signals():
        pass
    assert [signal.getsignal(number) for number in SIGNALS] == before
