"""Curves of a training, from the scalars that mmengine's LocalVisBackend wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Record = dict[str, float]


@dataclass
class TrainingRecords:
    """What a training logged, each step once, in order.

    `train` records carry iter, lr and losses; `val` records carry step (an epoch, or an iteration under a loop by
    iterations) and the metrics.
    """

    train: list[Record] = field(default_factory=list)
    val: list[Record] = field(default_factory=list)


def read_records(work_dir: str | Path) -> TrainingRecords:
    """Read all runs of a work folder, oldest first; a resumed run replaces what it repeats.

    Where the iteration falls back, everything that was logged from there on is dropped: the steps between a
    checkpoint and the kill that followed it, or all of a run that was started afresh.

    Args:
        work_dir: the folder that holds `<timestamp>/vis_data/scalars.json`.
    """
    records = TrainingRecords()
    for path in sorted(Path(work_dir).glob("*/vis_data/scalars.json")):
        lines = list(_read_lines(path))
        if not any("loss" in record for record in lines):
            continue  # an evaluation alone wrote it
        for record in lines:
            if "loss" not in record:
                records.val.append(record)
                continue
            if records.train and record["iter"] <= records.train[-1]["iter"]:
                _fall_back(records, record)
            records.train.append(record)
    return records


def plot_curves(work_dir: str | Path, picture: str | Path) -> Path | None:
    """Draw losses and learning rate over iterations, and AP over epochs.

    Args:
        work_dir: the folder of the training.
        picture: the PNG to write.

    Returns:
        The picture's path, None when nothing was recorded.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    records = read_records(work_dir)
    if not records.train:
        return None
    metrics = [key for key in _keys(records.val) if key.endswith(("_mAP", "_mAP_50"))]
    figure = Figure(figsize=(15 if metrics else 10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 3 if metrics else 2)
    losses = [key for key in _keys(records.train) if "loss" in key]
    _plot(panels[0], records.train, losses, axis="iter", title="losses", label="iteration")
    rates = [key for key in _keys(records.train) if key.endswith("lr")][:1]
    _plot(panels[1], records.train, rates, axis="iter", title="learning rate", label="iteration")
    if metrics:
        by_epoch = "epoch" in records.train[0]
        label = "epoch" if by_epoch else "iteration"
        _plot(panels[2], records.val, metrics, axis="step", title="average precision", label=label)
        panels[2].xaxis.get_major_locator().set_params(integer=True)
    path = Path(picture)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    return path


def _fall_back(records: TrainingRecords, restart: Record) -> None:
    val_start = restart.get("epoch", restart["iter"])
    records.train = [record for record in records.train if record["iter"] < restart["iter"]]
    records.val = [record for record in records.val if record["step"] < val_start]


def _read_lines(path: Path) -> Iterator[Record]:
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue  # a killed run may leave half a line


def _keys(records: list[Record]) -> list[str]:
    return list(dict.fromkeys(key for record in records for key in record))


def _legend(key: str) -> str:
    """`coco/segm_mAP_50` as "mask AP 50"; other names as they are."""
    name = key.rpartition("/")[2].replace("_mAP", " AP").replace("_", " ") if "_mAP" in key else key
    return name.replace("segm ", "mask ").replace("bbox ", "box ")


def _plot(panel: Any, records: list[Record], keys: list[str], *, axis: str, title: str, label: str) -> None:
    for key in keys:
        points = [(record[axis], record[key]) for record in records if key in record]
        panel.plot(*zip(*points, strict=True), label=_legend(key), marker="." if len(points) < 30 else None)
    panel.set(title=title, xlabel=label)
    panel.set_ylim(bottom=0)
    panel.grid(alpha=0.3)
    panel.legend(fontsize="small")
