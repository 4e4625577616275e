"""Average precision as text tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

ROW_NAMES = {"segm": "mask", "bbox": "box", "boundary": "boundary"}
COLUMNS = {"AP": "mAP", "50": "mAP_50", "75": "mAP_75", "S": "mAP_s", "M": "mAP_m", "L": "mAP_l"}


def format_table(metrics: Mapping[str, float], names: Sequence[str], *, prefix: str = "") -> str:
    """Format a row for each kind of AP; columns AP, 50, 75, S, M, L.

    Args:
        metrics: values by `<prefix><name>_<key of mmdet>`.
        names: keys of `ROW_NAMES`.
        prefix: start of the keys, "coco/" in the result of a Runner.
    """
    width = max(6, *(len(ROW_NAMES[name]) for name in names))
    lines = [" " * width + "".join(f"{column:>8}" for column in COLUMNS)]
    for name in names:
        values = (metrics[f"{prefix}{name}_{key}"] for key in COLUMNS.values())
        lines.append(f"{ROW_NAMES[name]:<{width}}" + "".join(f"{_cell(value):>8}" for value in values))
    return "\n".join(lines)


def format_class_table(per_class: Mapping[str, Sequence[float]], classes: Sequence[str]) -> str:
    """Format a row per class; a column for each kind of AP."""
    width = max(len(name) for name in classes)
    columns = {name: max(8, len(ROW_NAMES[name]) + 2) for name in per_class}
    lines = [" " * width + "".join(f"{ROW_NAMES[name]:>{columns[name]}}" for name in per_class)]
    for index, class_name in enumerate(classes):
        cells = (f"{_cell(values[index]):>{columns[name]}}" for name, values in per_class.items())
        lines.append(f"{class_name:<{width}}" + "".join(cells))
    return "\n".join(lines)


def _cell(value: float) -> str:
    return f"{value:.3f}" if value >= 0 else "-"
