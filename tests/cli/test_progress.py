"""The line that counts images."""

from __future__ import annotations

import io
import time

import pytest

from solo.cli.progress import ProgressLine, describe_progress


@pytest.mark.parametrize(
    ("done", "total", "seconds", "text"),
    [
        (120, 500, 5.0, "120/500 images, 24.0 images/s, 0:00:16 left"),
        (1, 10_000, 1.0, "1/10000 images, 1.0 images/s, 2:46:39 left"),
        (7, None, 2.0, "7 images, 3.5 images/s"),
        (7, 5, 2.0, "7 images, 3.5 images/s"),
        (0, 5, 2.0, "0/5 images, 0.0 images/s"),
    ],
)
def test_words(done: int, total: int | None, seconds: float, text: str) -> None:
    assert describe_progress(done, total, seconds=seconds) == text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_only_a_terminal_shows_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    for stream in (Terminal(), io.StringIO()):
        now = 0.0
        line = ProgressLine(4, stream=stream)
        for done, now in ((1, 0.1), (2, 1.0), (3, 1.1)):  # noqa: B007 - the clock reads it
            line.update(done)
        line.close()
        shown = stream.getvalue().split("\r")
        text = "2/4 images, 2.0 images/s, 0:00:01 left"
        assert shown == (["", text, " " * len(text), ""] if stream.isatty() else [""])
