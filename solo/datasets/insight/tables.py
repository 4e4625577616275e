"""Plain-text tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from solo.errors import printable


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align columns: the first to the left, the others to the right. Control characters are escaped."""
    lines = [[printable(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = [[cell.rjust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    for line, cells in zip(lines, aligned, strict=True):
        cells[0] = line[0].ljust(widths[0])
    return "\n".join("  ".join(cells).rstrip() for cells in aligned)
