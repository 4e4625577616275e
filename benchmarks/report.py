"""Rows of a benchmark as a table and as JSON."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.clock import chosen_clock
from benchmarks.pairs import NOISE_LIMIT, Row

OPENMMLAB = ("mmengine", "mmdet", "mmcv-lite", "mmcv")
PACKAGES = ("torch", *OPENMMLAB, "numpy", "pycocotools", "hotcoco", "opencv-python-headless", "opencv-python")


def machine() -> dict[str, Any]:
    """What the numbers depend on."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return dict(
        processor=_processor_name(),
        cores=os.cpu_count(),
        memory_bytes=_memory_bytes(),
        gpus=[torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        torch_threads=torch.get_num_threads(),
        clock=chosen_clock(),
        system=platform.platform(),
        python=platform.python_version(),
        versions=versions,
    )


def write_json(rows: Sequence[Row], path: str | os.PathLike[str]) -> None:
    """Write `machine`, `command` and `rows` as one JSON object."""
    report = dict(machine=machine(), command=shlex.join(sys.argv), rows=[row._asdict() for row in rows])
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(report, indent=2) + "\n")


def as_table(rows: Sequence[Row]) -> str:
    """The rows as aligned text, with a warning below that names those too noisy to rely on."""
    header = ("", "ours", "peer", "unit", "p95", "ratio", "quartiles", "noise", "equal")
    lines = [header, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    noisy = ", ".join(row.name for row in rows if row.is_noisy)
    warning = [f"noisy, values of one side vary by more than {NOISE_LIMIT:.0%}: {noisy}"] * bool(noisy)
    return "\n".join(table + warning)


def _cells(row: Row) -> tuple[str, ...]:
    spread = "" if row.spread is None else "{:.2f} to {:.2f}".format(*row.spread)
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    peer = "" if row.peer is None else f"{row.peer:,.6g}"
    p95 = _both(row.p95, row.peer_p95, "{:,.5g}")
    noise = "exact" if row.noise == 0 == (row.peer_noise or 0) else _both(row.noise, row.peer_noise, "{:.0%}")
    equal = {True: "yes", None: ""}.get(row.equal, "no")
    return row.name, f"{row.ours:,.6g}", peer, row.unit, p95, ratio, spread, noise, equal


def _both(ours: float | None, peer: float | None, form: str) -> str:
    return " | ".join(form.format(value) for value in (ours, peer) if value is not None)


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
