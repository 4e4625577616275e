"""What a training has reached, where its files are, and what to type next."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

from mmengine.runner import Runner

from solo.engine.hooks.checkpoint import latest_checkpoint
from solo.engine.hooks.curves import read_records


def training_summary(runner: Runner, config_path: str, *, has_overrides: bool) -> str:
    """Summarise a training that has ended.

    Args:
        runner: after `train`.
        config_path: the config as the user gave it.
        has_overrides: whether values were changed on the command line; the next command then names the config that
            the training has written to its work folder, which holds them.
    """
    folder = _shown(Path(runner.work_dir))
    best = _existing(runner.message_hub.get_info("best_ckpt"))
    latest = latest_checkpoint(folder)
    lines = [f"Trained {_length(runner)}. {_best(runner)}"]
    for name, path in (("best checkpoint", best), ("last checkpoint", latest), ("curves", folder / "curves.png")):
        if path is not None and path.is_file():
            lines.append(f"  {name + ':':<17}{path}")
    lines.append(f"  {'log:':<17}{_shown(Path(runner.log_dir))}")
    checkpoint = best or latest
    if checkpoint is not None:
        written = folder / Path(str(runner.cfg.filename or "")).name
        config = str(written) if has_overrides and written.is_file() else config_path
        words = ["solo", "test", config, str(checkpoint), "--report", str(folder / "report")]
        lines.append(f"Next: {shlex.join(words)}")
    return "\n".join(lines)


def _length(runner: Runner) -> str:
    if "IterBased" in type(runner.train_loop).__name__ or not getattr(runner.train_loop, "epoch_length", 0):
        return f"{runner.iter} of {runner.max_iters} iterations"
    return f"{runner.epoch} of {runner.max_epochs} epochs"


def _best(runner: Runner) -> str:
    """The validation with the highest mask AP of the work folder."""
    records: list[dict[str, Any]] = [r for r in read_records(runner.work_dir).val if "coco/segm_mAP" in r]
    if not records:
        return "It was not validated"
    best = max(records, key=lambda record: record["coco/segm_mAP"])
    unit = "epoch" if getattr(runner.train_loop, "epoch_length", 0) else "iteration"
    boxes = f", box AP {best['coco/bbox_mAP']:.3f}" if "coco/bbox_mAP" in best else ""
    return f"Best {unit} {best['step']:.0f}: mask AP {best['coco/segm_mAP']:.3f}{boxes}"


def _existing(path: Any) -> Path | None:
    return _shown(Path(path)) if isinstance(path, str | os.PathLike) and Path(path).is_file() else None


def _shown(path: Path) -> Path:
    """Relative to the current folder if it lies there, so that the next command is short."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
