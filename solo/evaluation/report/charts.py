"""Line charts as inline SVG, without a library or a script."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from solo.errors import printable

COLORS = ("#3057d5", "#d1495b", "#2a9d5c", "#b8860b", "#7b3fb5", "#0f8b8d", "#d2691e", "#5c6770", "#c2185b", "#6b8e23")
WIDTH, HEIGHT, LEFT, TOP, SIDE = 430, 300, 48, 12, 16
BOTTOM = 44


class Line(NamedTuple):
    """A line of a chart: both axes from 0 to 1."""

    name: str
    x: np.ndarray
    y: np.ndarray


def line_chart(lines: Sequence[Line], *, title: str, x_label: str, y_label: str, diagonal: bool = False) -> str:
    """Lines over the unit square, the first one thick; a colour serves again after ten lines.

    Args:
        lines: at least one.
        title: read out for the chart.
        x_label: text below the axis.
        y_label: text beside the axis.
        diagonal: dash the line x = y.
    """
    parts = [_axes(x_label, y_label)]
    if diagonal:
        parts.append(f'<path class="grid" stroke-dasharray="4" d="{_path(np.array([0.0, 1]), np.array([0.0, 1]))}"/>')
    for index, line in reversed(list(enumerate(lines))):
        color, width = COLORS[index % len(COLORS)], 2.5 if index == 0 else 1.2
        parts.append(
            f'<path fill="none" stroke="{color}" stroke-width="{width}" d="{_path(line.x, line.y)}">'
            f"<title>{text(line.name)}</title></path>"
        )
    label = html.escape(title, quote=True)
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
    return f"<figure>{svg}{_legend(lines)}</figure>"


def text(words: object) -> str:
    """Text that is safe in HTML, control characters escaped."""
    return html.escape(printable(str(words)), quote=True)


def _axes(x_label: str, y_label: str) -> str:
    parts = []
    for step in range(6):
        value = step / 5
        x, y = _x(value), _y(value)
        parts.append(f'<path class="grid" d="M{x:.1f} {_y(0)}V{_y(1)}M{_x(0)} {y:.1f}H{_x(1)}"/>')
        parts.append(f'<text x="{x:.1f}" y="{_y(0) + 16}" text-anchor="middle">{value:.1f}</text>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.1f}</text>')
    middle = (_x(0) + _x(1)) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{text(x_label)}</text>')
    height = (_y(0) + _y(1)) / 2
    parts.append(f'<text transform="translate(12 {height}) rotate(-90)" text-anchor="middle">{text(y_label)}</text>')
    return "".join(parts)


def _legend(lines: Sequence[Line]) -> str:
    entries = (
        f'<span><i style="background:{COLORS[index % len(COLORS)]}"></i>{text(line.name)}</span>'
        for index, line in enumerate(lines)
    )
    return f"<figcaption>{''.join(entries)}</figcaption>"


def _path(x: np.ndarray, y: np.ndarray) -> str:
    return "M" + "L".join(f"{_x(a):.1f} {_y(b):.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))


def _x(value: float) -> float:
    return LEFT + value * (WIDTH - LEFT - SIDE)


def _y(value: float) -> float:
    return HEIGHT - BOTTOM - value * (HEIGHT - TOP - BOTTOM)
