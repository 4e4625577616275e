"""Statistics as an image of four plots. Needs matplotlib, which mmengine brings."""

from __future__ import annotations

import importlib.util
import io
from typing import Any

import numpy as np

from solo.datasets.insight.statistics import DataStatistics
from solo.errors import UserError

_MOST_CLASSES = 30


def require_matplotlib() -> None:
    """Refuse to plot without matplotlib.

    Raises:
        UserError: It is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError("plots need the package matplotlib; pip install matplotlib")


def plot_statistics(statistics: DataStatistics) -> bytes:
    """Plot objects an image, sizes, classes and overlap; returns a PNG file."""
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 8), layout="constrained")
    axes = figure.subplots(2, 2)
    _plot_histogram(axes[0, 0], statistics.counts, "objects in an image", "images")
    scales = np.log2(statistics.scales.clip(min=0.5))
    _plot_histogram(axes[0, 1], scales, "sqrt of box area (px)", "objects")
    ticks = axes[0, 1].get_xticks()
    axes[0, 1].set_xticks(ticks, [f"{2**tick:.3g}" for tick in ticks])
    counts = np.bincount(statistics.labels, minlength=len(statistics.classes))
    order = np.argsort(-counts, kind="stable")[:_MOST_CLASSES][::-1]
    names = [statistics.classes[label].replace("$", r"\$") for label in order]  # no formulas
    axes[1, 0].barh(range(len(order)), counts[order])
    axes[1, 0].set_yticks(range(len(order)), names)
    axes[1, 0].set(xlabel="objects")
    _plot_histogram(axes[1, 1], statistics.overlaps, "largest box IoU with another object", "objects")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _plot_histogram(axis: Any, values: Any, name: str, unit: str) -> None:
    axis.hist(values, bins=40)
    axis.set(xlabel=name, ylabel=unit)
