"""Freed memory that stays with the process: counted in page faults, each in a process of its own."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from solo.command_line import run_command

_BLOCK = 64 * 2**20
_COUNT_FAULTS = f"""
import resource
from solo.engine.malloc import keep_freed_memory

kept = KEEP and keep_freed_memory()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
b"a" * {_BLOCK}
before = faults()
for _ in range(4):
    b"a" * {_BLOCK}
print(kept, faults() - before)
"""
_PAGES = 4 * _BLOCK // os.sysconf("SC_PAGESIZE")

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs the GNU C library")


def count_faults(*, keep: bool, **environment: str) -> tuple[str, int]:
    code = _COUNT_FAULTS.replace("KEEP", str(keep))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**inherited, **environment}, capture_output=True, text=True, check=True
    )
    kept, faults = done.stdout.split()
    return kept, int(faults)


def test_blocks_are_mapped_once() -> None:
    assert count_faults(keep=False)[1] >= _PAGES
    kept, faults = count_faults(keep=True)
    assert kept == "True"
    assert faults < _PAGES / 20


def test_a_choice_of_the_environment_stands() -> None:
    kept, faults = count_faults(keep=True, MALLOC_MMAP_THRESHOLD_="131072")
    assert kept == "False"
    assert faults >= _PAGES


def test_commands_keep_freed_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr("solo.command_line.keep_freed_memory", lambda: calls.append("keep"))

    assert run_command(lambda: calls.append("main")) == 0
    assert run_command(lambda: calls.append("measured"), keep_memory=False) == 0

    assert calls == ["keep", "main", "measured"]
