"""Run a function in a child process with limits, so that a crash, a hang or a flood of memory is an outcome."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable

import cv2

MEMORY = 1 << 30
SECONDS = 20


def run_limited(function: Callable[[], str], *, memory: int = MEMORY, seconds: int = SECONDS) -> str:
    """Fork, run the function, and return its text or what ended it: `signal 11`, `MemoryError: ...`.

    Args:
        function: returns a text; exceptions are returned as `Type: message`.
        memory: bytes that it may allocate beyond what this process has.
        seconds: of CPU time, after which it is killed by signal 24.
    """
    cv2.setNumThreads(1)  # OpenCV's threads do not survive a fork
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        try:
            _limit(memory, seconds)
            outcome = function()
        except BaseException as error:
            outcome = f"{type(error).__name__}: {error}"
        os.write(writing, outcome.encode("utf-8", "replace")[:60_000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        outcome = pipe.read().decode()
    status = os.waitpid(child, 0)[1]
    return f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else outcome


def _limit(memory: int, seconds: int) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(3 * seconds)
    with open("/proc/self/statm") as file:
        present = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    resource.setrlimit(resource.RLIMIT_AS, (present + memory, present + memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
