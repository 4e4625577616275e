"""Run `solo` and the scripts of `tools/` in processes of their own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.helpers.paths import ROOT


def run_tool(name: str, *arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run `tools/NAME` in a folder and wait for it."""
    command = [sys.executable, str(ROOT / "tools" / name), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=_environment(), capture_output=True, text=True, timeout=100)


def run_solo(*words: str, folder: Path) -> str:
    """Run `solo WORDS` in a folder; the output of a success."""
    command = [sys.executable, "-m", "solo", *words]
    done = subprocess.run(command, cwd=folder, env=_environment(), capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, f"solo {' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


def start_tool(name: str, *arguments: str | Path, folder: Path) -> subprocess.Popen[str]:
    """Start `tools/NAME` in a process group of its own."""
    return _start([sys.executable, str(ROOT / "tools" / name), *map(str, arguments)], folder=folder)


def start_module(name: str, *arguments: str | Path, folder: Path) -> subprocess.Popen[str]:
    """Start `python -m NAME` in a process group of its own."""
    return _start([sys.executable, "-m", name, *map(str, arguments)], folder=folder)


def start_script(name: str, *arguments: str | Path, folder: Path, **environment: str) -> subprocess.Popen[str]:
    """Start the shell script `tools/NAME` in a process group of its own."""
    command = ["bash", str(ROOT / "tools" / name), *map(str, arguments)]
    return _start(command, folder=folder, **{"PYTHON": sys.executable, **environment})


def finish(process: subprocess.Popen[str], *, code: int = 0, seconds: float = 100) -> tuple[str, str]:
    """Standard output and error of a process that has to end with `code` in time."""
    try:
        out, error = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert process.returncode == code, f"exit status {process.returncode}:\n{out}{error}"
    return out, error


def wait_for(condition: Callable[[], bool], *, seconds: float) -> None:
    """Wait until a condition is true; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"did not become true within {seconds} s"
        time.sleep(0.02)


def group_is_alive(group: int, *, seconds: float = 10) -> bool:
    """Whether a process of the group is left after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.1)
    return True


def child_processes(parent: int) -> list[int]:
    """The processes that a process has started, such as the ranks of torchrun."""
    out = subprocess.run(["ps", "-eo", "pid,ppid"], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in out.splitlines()[1:]]
    return sorted(pid for pid, its_parent in pairs if its_parent == parent)


def processes_in(folder: Path) -> list[int]:
    """The running processes whose working folder is `folder`; zombies are left out."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == folder:
                found.append(int(process.name))
        except OSError:
            continue
    return found


def ap_table(output: str) -> list[str]:
    """The rows of the AP tables that a command printed."""
    return re.findall(r"^(?:mask|box) .*$", output, re.MULTILINE)


def read_results(path: Path) -> list[dict[str, Any]]:
    """Detections in COCO's results format, sorted by image."""
    return sorted(json.loads(path.read_text()), key=lambda result: result["image_id"])


def _environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}


def _start(command: list[str], *, folder: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        cwd=folder,
        env=_environment(**environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
