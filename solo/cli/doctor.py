"""Report versions and devices, what is missing or broken, and how to mend it. Exits with 1 when a required part is."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Any, NamedTuple

from solo import __version__
from solo.dependencies import OPTIONAL, REQUIRED, TESTED_PYTHON, TESTED_TORCH
from solo.errors import printable

# The only cv2 that needs no libGL: its files replace those of opencv-python, which other packages ask for by name.
MEND_CV2 = "pip install --force-reinstall --no-deps opencv-python-headless"


WIDTH = max(map(len, (*REQUIRED, *OPTIONAL))) + 2


class Problem(NamedTuple):
    """A required module that cannot be imported."""

    module: str
    reason: str
    remedy: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There is nothing to choose."""


def run(arguments: argparse.Namespace) -> int:
    """Print the report; the exit code is 1 if a required module cannot be imported."""
    print(f"{'solo':{WIDTH}}{__version__}")
    print(f"{'python':{WIDTH}}{platform.python_version()} on {platform.system()} {platform.machine()}")
    problems: list[Problem] = []
    for module in REQUIRED:
        problem = find_problem(module, broken=[earlier.module for earlier in problems])
        print(f"{module:{WIDTH}}{'BROKEN' if problem else _version(module)}")
        problems += [problem] if problem else []
    for module, (distribution, purpose, demand) in OPTIONAL.items():
        missing = f"not installed ({purpose}): pip install '{demand}'"
        print(f"{module:{WIDTH}}{_version(module) if _is_installed(distribution) else missing}")
    print(_tested())
    if "torch" not in (problem.module for problem in problems):
        print(*describe_devices(), sep="\n")
    for problem in problems:
        print(f"problem: {problem.module}: {problem.reason}; {problem.remedy}")
    print(f"{len(problems)} required modules cannot be imported" if problems else "everything that solo needs is there")
    return 1 if problems else 0


def find_problem(module: str, *, broken: list[str]) -> Problem | None:
    """What happens when a module is imported; None if it can be.

    Args:
        module: its name, a key of `REQUIRED`.
        broken: modules that cannot be imported, which may be the cause.
    """
    try:
        importlib.import_module(module)
    except Exception as error:  # a library that cannot be loaded raises an OSError, a wrong build anything
        reason = printable(f"{type(error).__name__}: {error}".strip().splitlines()[0])
        cause = next((name for name in broken if name in reason), None)
        return Problem(module, reason, f"mend {cause} first" if cause else _remedy(module, reason))
    return None


def describe_devices() -> Iterator[str]:
    """Lines about the CPU and the accelerators that torch sees."""
    import torch

    threads = f"{torch.get_num_threads()} threads of {os.cpu_count()} cores"
    # Private, and the only way to ask; absent from some builds.
    has_bfloat16: Any = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    yield f"{'CPU':{WIDTH}}{threads}{_memory()}, bfloat16 {'by oneDNN' if has_bfloat16() else 'slow'}"
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        yield f"{f'cuda:{index}':{WIDTH}}{device.name}, {device.total_memory / 2**30:.0f} GiB"
    if torch.backends.mps.is_available():
        yield f"{'mps':{WIDTH}}available"
    if not torch.cuda.is_available():
        build = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "a build for the CPU"
        yield f"{'GPU':{WIDTH}}none usable; torch is {build}"


def _remedy(module: str, reason: str) -> str:
    if module == "cv2" and (".so" in reason or _is_installed("opencv-python-headless")):
        return f"opencv-python needs libraries of a desktop; {MEND_CV2}"
    if module == "cv2":
        return MEND_CV2
    demand = _demands().get(REQUIRED[module], REQUIRED[module])
    again = "--force-reinstall --no-deps " if _is_installed(REQUIRED[module]) else ""
    return f"pip install {again}'{demand}'"


def _demands() -> dict[str, str]:
    """Distribution -> the requirement of solo's metadata, such as `mmdet==3.3.0`."""
    try:
        lines = [line for line in metadata.requires("solov2") or [] if ";" not in line]
    except metadata.PackageNotFoundError:
        return {}
    return {distribution: line for line in lines for distribution in REQUIRED.values() if line.startswith(distribution)}


def _version(module: str) -> str:
    distribution = REQUIRED.get(module) or OPTIONAL[module][0]
    loaded = getattr(sys.modules.get(module), "__version__", None)
    return str(loaded or metadata.version(distribution))


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _memory() -> str:
    try:
        return f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (AttributeError, ValueError, OSError):  # not on every system
        return ""


def _tested() -> str:
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    tested = f"Python {', '.join(TESTED_PYTHON)}; torch {', '.join(TESTED_TORCH)}"
    return f"{'tested':{WIDTH}}{tested}" + ("" if here in TESTED_PYTHON else f" (this is Python {here})")
