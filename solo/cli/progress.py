"""A line on a terminal that counts images, with their rate and the time that is left."""

from __future__ import annotations

import sys
import time
from typing import TextIO

_INTERVAL = 0.2
"""Seconds between two updates."""


class ProgressLine:
    """Overwrites one line of stderr; nothing is shown where stderr is no terminal."""

    def __init__(self, total: int | None, *, stream: TextIO | None = None) -> None:
        """Start the clock.

        Args:
            total: number of images, None when it is unknown.
            stream: where to write; None for stderr.
        """
        self.total = total
        self._stream = stream or sys.stderr
        self._is_shown = self._stream.isatty()
        self._start = self._updated = time.monotonic()
        self._width = 0

    def update(self, done: int) -> None:
        """Show how many images are done, at most five times a second."""
        now = time.monotonic()
        if self._is_shown and now - self._updated >= _INTERVAL:
            self._updated = now
            self._write(describe_progress(done, self.total, seconds=now - self._start))

    def close(self) -> None:
        """Clear the line."""
        if self._width:
            self._write("")
            self._stream.write("\r")
            self._stream.flush()

    def _write(self, text: str) -> None:
        self._stream.write("\r" + text.ljust(self._width))
        self._stream.flush()
        self._width = len(text)


def describe_progress(done: int, total: int | None, *, seconds: float) -> str:
    """For example "120/500 images, 24.0 images/s, 0:00:16 left"."""
    rate = done / seconds if seconds > 0 else 0.0
    if total is None or total < done:
        return f"{done} images, {rate:.1f} images/s"
    text = f"{done}/{total} images, {rate:.1f} images/s"
    if not rate:
        return text
    minutes, rest = divmod(round((total - done) / rate), 60)
    return f"{text}, {minutes // 60}:{minutes % 60:02d}:{rest:02d} left"
