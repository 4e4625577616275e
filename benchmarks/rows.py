"""Rows of a benchmark: their statistics, the selection by name, and the report as a table or JSON."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import shlex
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch

from benchmarks.timing import selected_clock
from solo.errors import ConfigError, suggestion

NOISE_LIMIT = 0.25
PACKAGES = (
    *("torch", "mmengine", "mmdet", "mmcv-lite", "mmcv", "numpy", "pycocotools", "hotcoco"),
    *("opencv-python-headless", "opencv-python", "onnxruntime", "openvino"),
)


class Row(NamedTuple):
    """One row of a report.

    Attributes:
        name: what was measured.
        unit: of `ours`, `peer` and the 95th percentiles.
        ours: our value; the median of times and rates.
        peer: mmdetection's value, None without a comparison.
        ratio: how many times better ours is; of times and rates the median over the repetitions.
        spread: first and third quartile of the repetitions' ratios, None for a count.
        equal: True if this run asserted that both compute the same; None without a comparison.
        noise: interquartile range of our values over their median; 0 for an exact count, None for a single value.
        peer_noise: the same of mmdetection's values.
        p95: 95th percentile of our times, None for other units.
        peer_p95: the same of mmdetection's times.
    """

    name: str
    unit: str
    ours: float
    peer: float | None = None
    ratio: float | None = None
    spread: tuple[float, float] | None = None
    equal: bool | None = None
    noise: float | None = None
    peer_noise: float | None = None
    p95: float | None = None
    peer_p95: float | None = None

    @property
    def is_noisy(self) -> bool:
        """Whether the values of one implementation vary too much to rely on."""
        return max(self.noise or 0.0, self.peer_noise or 0.0) > NOISE_LIMIT


def count_row(name: str, unit: str, ours: float, peer: float | None = None) -> Row:
    """A row of counts, of which the smaller is better; the ratio takes a count of 0 as 1."""
    if peer is None:
        return Row(name, unit, ours, noise=0.0)
    return Row(name, unit, ours, peer, ratio=peer / max(ours, 1), equal=True, noise=0.0, peer_noise=0.0)


def time_row(name: str, ours: Sequence[float], peer: Sequence[float] | None = None) -> Row:
    """A row of the seconds of each repetition, reported in milliseconds."""
    row = _row(name, "ms", [1000 * seconds for seconds in ours], peer and [1000 * taken for taken in peer])
    return row._replace(p95=1000 * percentile(ours, 95), peer_p95=None if peer is None else 1000 * percentile(peer, 95))


def rate_row(name: str, unit: str, ours: Sequence[float], peer: Sequence[float] | None = None) -> Row:
    """A row of the rates of each repetition, of which the larger is better."""
    return _row(name, unit, ours, peer, larger_is_better=True)


def _row(
    name: str, unit: str, ours: Sequence[float], peer: Sequence[float] | None, *, larger_is_better: bool = False
) -> Row:
    row = Row(name, unit, statistics.median(ours), noise=noise_of(ours))
    if peer is None:
        return row
    # A stage that one implementation does not have takes 0 s there: it has no ratio.
    pairs = [(mine, theirs) for mine, theirs in zip(ours, peer, strict=True) if mine > 0 and theirs > 0]
    ratios = [mine / theirs if larger_is_better else theirs / mine for mine, theirs in pairs]
    return row._replace(
        peer=statistics.median(peer),
        ratio=statistics.median(ratios) if ratios else None,
        spread=quartiles(ratios) if ratios else None,
        equal=True,
        peer_noise=noise_of(peer),
    )


def noise_of(values: Sequence[float]) -> float | None:
    """Interquartile range over the median; None for a single value or a median of 0."""
    first, third = quartiles(values)
    median = statistics.median(values)
    return (third - first) / median if median and len(values) > 1 else None


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that `percent` of the values do not exceed, linearly interpolated."""
    ordered = sorted(values)
    position = (len(ordered) - 1) * percent / 100
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """First and third quartile; both are the value itself if there is only one."""
    if len(values) == 1:
        return values[0], values[0]
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third


Measurements: TypeAlias = Mapping[tuple[str, ...], Callable[[], list[Row]]]
"""Functions that measure rows, by the names of those rows; a name that ends in the config's name is cut before it."""


def check_options(*, against: str | None, repetitions: int, warmup: int, **counts: int | None) -> None:
    """Check the options that every benchmark has.

    Args:
        against: the reference implementation, None for none.
        repetitions: timed repetitions.
        warmup: repetitions before those.
        **counts: numbers that must be positive, by the name of their option; None is not checked.

    Raises:
        ConfigError: a number is too small, or the reference implementation is not installed.
    """
    positive = {"iters": repetitions, **counts}
    for name, least, value in [("warmup", 0, warmup), *((name, 1, value) for name, value in positive.items())]:
        if value is not None and value < least:
            raise ConfigError(f"--{name.replace('_', '-')} must be at least {least}, got {value}")
    if against is not None and importlib.util.find_spec(against) is None:
        raise ConfigError(f"--against {against}: the package is not installed")


def measure_rows(measurements: Measurements, names: Sequence[str] | None) -> list[Row]:
    """Measure the rows of these names, None for all.

    Raises:
        ConfigError: a name is unknown.
    """
    known = [name for group in measurements for name in group]
    for name in names or ():
        if name not in known:
            raise ConfigError(f"--rows {name}: unknown{suggestion(name, known)}; there are {', '.join(known)}")
    rows: list[Row] = []
    for group, measure in measurements.items():
        wanted = [name for name in group if names is None or name in names]
        if wanted:
            rows += [row for row in measure() if len(group) == 1 or _belongs_to(row, wanted, group)]
    return rows


def _belongs_to(row: Row, wanted: Sequence[str], group: Sequence[str]) -> bool:
    """Whether the longest name of the group that the row's name starts with is wanted."""
    return max((name for name in group if row.name.startswith(name)), key=len) in wanted


def describe_machine() -> dict[str, Any]:
    """Hardware and versions that the numbers depend on."""
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
        clock=selected_clock(),
        system=platform.platform(),
        python=platform.python_version(),
        versions=versions,
    )


def write_json(rows: Sequence[Row], path: str | os.PathLike[str]) -> None:
    """Write `machine`, `command` and `rows` as one JSON object, a line for each row (`benchmarks/results/`)."""
    machine, command = json.dumps(describe_machine()), json.dumps(shlex.join(sys.argv))
    lines = ",\n".join("  " + json.dumps(row._asdict()) for row in rows)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(f'{{"machine": {machine},\n"command": {command},\n"rows": [\n{lines}\n]}}\n')


def format_table(rows: Sequence[Row], *, peer: str = "mmdet") -> str:
    """The rows as aligned text, followed by a warning that names the noisy ones; `peer` is what they compare with."""
    header = ("", "ours", peer, "unit", "p95", "ratio", "quartiles", "noise", "equal")
    lines = [header, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    noisy = ", ".join(row.name for row in rows if row.is_noisy)
    warning = [f"noisy, one implementation's values vary by more than {NOISE_LIMIT:.0%}: {noisy}"] * bool(noisy)
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
