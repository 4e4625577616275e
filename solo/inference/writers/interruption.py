"""Ctrl-C and SIGTERM while results are written."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def finish_before_signals() -> Iterator[None]:
    """Deliver SIGINT and SIGTERM after the block, so that all writers have the same frames, each of them whole.

    A second signal is delivered at once, for a disk that hangs. Outside the main thread, which alone receives signals,
    nothing changes.
    """
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    if threading.current_thread() is not threading.main_thread() or None in handlers.values():
        yield
        return
    received: list[int] = []

    def restore() -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def receive(number: int, frame: FrameType | None) -> None:
        if received:
            restore()
            received.clear()
            signal.raise_signal(number)
        else:
            received.append(number)

    for number in SIGNALS:
        signal.signal(number, receive)
    try:
        yield
    finally:
        restore()
        if received:
            signal.raise_signal(received[0])
