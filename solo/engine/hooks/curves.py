"""Training curves, plotted from the scalars that mmengine's LocalVisBackend writes."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from solo.errors import DataError, UserError, missing_file_message
from solo.output_files import write_output
from solo.registry import HOOKS

Record = dict[str, float]


@HOOKS.register_module()
class CurvesHook(Hook):
    """Plot losses, learning rate and AP of all runs of the work folder into `curves.png` when training ends.

    The scalars come from the files that `LocalVisBackend` writes; without that backend a warning is logged instead.
    """

    priority = "VERY_LOW"

    @master_only
    def after_train(self, runner: Runner) -> None:
        """Plot the curves."""
        try:
            path = plot_curves(runner.work_dir, Path(runner.work_dir) / "curves.png")
        except (UserError, ImportError) as error:  # the training is done all the same, also without matplotlib
            runner.logger.warning(f"no curves are plotted: {error}")
            return
        if path is None:
            runner.logger.warning(f"{runner.work_dir}: no scalars were recorded, so no curves are plotted")
        else:
            runner.logger.info(f"Curves of losses, learning rate and AP: {path}")


@dataclass
class TrainingRecords:
    """The logged records of a training, each step once, in order.

    `train` records hold iter, lr and losses; `val` records hold step (the epoch, or the iteration in an
    iteration-based loop) and the metrics.
    """

    train: list[Record] = field(default_factory=list)
    val: list[Record] = field(default_factory=list)


def read_records(work_dir: str | Path) -> TrainingRecords:
    """Read all runs of a work folder, oldest first; a resumed run replaces the steps that it repeats.

    Where the iteration goes back, the records from there on are dropped: those between a checkpoint and the kill that
    followed it, or all records when the training was started again. After a resume with larger batches it goes back
    too, since an epoch has fewer steps: the iterations of the earlier epochs are scaled down.

    Args:
        work_dir: the folder that holds `<timestamp>/vis_data/scalars.json`.

    Raises:
        DataError: a file of that name is no regular file.
    """
    records = TrainingRecords()
    for path in sorted(Path(work_dir).glob("*/vis_data/scalars.json")):
        for record in _read_lines(path):
            if "loss" in record and "iter" in record:
                if records.train and record["iter"] <= records.train[-1]["iter"]:
                    _drop_repeated(records, record)
                records.train.append(record)
            elif record.get("step"):  # 0 in a test
                records.val = [earlier for earlier in records.val if earlier["step"] != record["step"]] + [record]
    return records


def plot_curves(work_dir: str | Path, out_file: str | Path) -> Path | None:
    """Plot losses and learning rate over iterations, and AP over epochs.

    Args:
        work_dir: the folder of the training.
        out_file: the PNG to write.

    Returns:
        The path of the PNG, None when nothing was recorded.

    Raises:
        DataError: as `read_records`.
        OutputError: the PNG cannot be written.
    """
    # matplotlib takes a second to import.
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
    validated = [{**record, "iter": _iteration(records, record)} for record in records.val]
    val_losses = [key for key in _keys(validated) if key.startswith("val_loss")]
    both = [*records.train, *validated]
    _plot(panels[0], both, [*losses, *val_losses], axis="iter", title="losses", label="iteration")
    rates = [key for key in _keys(records.train) if key.endswith("lr")][:1]
    _plot(panels[1], records.train, rates, axis="iter", title="learning rate", label="iteration")
    if metrics:
        by_epoch = "epoch" in records.train[0]
        label = "epoch" if by_epoch else "iteration"
        _plot(panels[2], records.val, metrics, axis="step", title="average precision", label=label)
        panels[2].xaxis.get_major_locator().set_params(integer=True)
    content = io.BytesIO()
    figure.savefig(content, dpi=100)
    write_output(out_file, content.getvalue())
    return Path(out_file)


def _drop_repeated(records: TrainingRecords, start: Record) -> None:
    """Drop what a run that starts with this record repeats."""
    records.train = [record for record in records.train if _position(record) < _position(start)]
    records.val = [record for record in records.val if record["step"] < start.get("epoch", start["iter"])]
    if records.train and start["iter"] <= (last := records.train[-1]["iter"]):
        scale = (start["iter"] - 1) / last
        records.train = [{**record, "iter": record["iter"] * scale} for record in records.train]


def _iteration(records: TrainingRecords, validation: Record) -> float:
    """The iteration of a validation, whose step is an epoch in an epoch-based training."""
    if "epoch" not in records.train[0]:
        return validation["step"]
    before = [record["iter"] for record in records.train if record["epoch"] <= validation["step"]]
    return before[-1] if before else 0


def _position(record: Record) -> tuple[float, float]:
    return record.get("epoch", 0), record["iter"]


def _read_lines(path: Path) -> Iterator[Record]:
    if not path.is_file():
        raise DataError(missing_file_message(path, kind="log file"))
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue  # a killed run may leave an incomplete line
        if isinstance(record, dict) and all(isinstance(value, int | float) for value in record.values()):
            yield record


def _keys(records: list[Record]) -> list[str]:
    return list(dict.fromkeys(key for record in records for key in record))


def _legend(key: str) -> str:
    """`coco/segm_mAP_50` becomes "mask AP 50"; other names stay."""
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
