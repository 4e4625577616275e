"""Freed memory stays with the process, measured in a process of its own."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from solo.cli import main

_BLOCK = 64 * 2**20
_RESIDENT_AFTER_FREE = f"""
from solo.engine.malloc import keep_freed_memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])

kept = keep_freed_memory()
before = resident()
b"a" * {_BLOCK}
print(kept, resident() - before)
"""
_PAGES = _BLOCK // os.sysconf("SC_PAGESIZE")

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs the GNU C library")


def resident_after_free(**environment: str) -> tuple[str, int]:
    """Whether the process keeps freed memory, and by how many pages it has grown after a block was freed."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", _RESIDENT_AFTER_FREE]
    done = subprocess.run(command, env={**inherited, **environment}, capture_output=True, text=True, check=True)
    kept, pages = done.stdout.split()
    return kept, int(pages)


def test_a_freed_block_stays_with_the_process() -> None:
    kept, pages = resident_after_free()
    assert kept == "True"
    assert pages > 0.9 * _PAGES


def test_settings_of_the_environment_win() -> None:
    kept, pages = resident_after_free(MALLOC_MMAP_THRESHOLD_="131072")
    assert kept == "False"
    assert pages < 0.1 * _PAGES


@pytest.mark.parametrize("words", [("train", "a.py"), ("test", "a.py", "b.pth")], ids=lambda words: words[0])
def test_commands_keep_freed_memory(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    module = f"solo.cli.{words[0]}"
    monkeypatch.setattr(f"{module}.keep_freed_memory", lambda: calls.append("keep"))
    monkeypatch.setattr(f"{module}.{words[0]}", lambda *args, **options: calls.append("run"))
    assert main(words) == 0
    assert calls == ["keep", "run"]
