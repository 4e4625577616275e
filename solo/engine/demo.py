"""The demonstration behind `make demo`: train, evaluate, visualise, report."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from solo.config import load_config
from solo.engine.hooks.checkpoint import latest_checkpoint
from solo.engine.runner import test, train
from solo.errors import CheckpointError
from solo.evaluation.ap_table import format_table
from solo.registry import DATASETS

IMAGE_COUNT = 12


def run_demo(
    config_path: str, *, work_dir: str, seed: int = 0, overrides: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Train a config afresh, evaluate its last checkpoint, visualise predictions, write `summary.json`.

    Args:
        config_path: the config file.
        work_dir: folder of everything that is made; an earlier demo in it is overwritten.
        seed: seed of everything random.
        overrides: config values by dotted key.

    Returns:
        What the summary holds: mask_AP, box_AP, train_seconds, total_seconds, visualisations (a folder).
    """
    folder = Path(work_dir)
    visualisations = folder / "visualisations"
    start = time.perf_counter()
    # The data set is generated when it is first built; that does not count as training time.
    DATASETS.build(load_config(config_path, overrides=overrides).train_dataloader.dataset)
    prepared = time.perf_counter()
    train(config_path, work_dir=work_dir, seed=seed, overrides=overrides)
    trained = time.perf_counter()
    checkpoint = latest_checkpoint(work_dir)
    if checkpoint is None:
        raise CheckpointError(f"{work_dir}: the training saved no checkpoint; its config needs a CheckpointHook")
    metrics = test(
        config_path,
        str(checkpoint),
        work_dir=work_dir,
        show_dir=str(visualisations),
        max_images=IMAGE_COUNT,
        overrides=overrides,
    )
    summary = dict(
        mask_AP=metrics["coco/segm_mAP"],
        box_AP=metrics["coco/bbox_mAP"],
        train_seconds=round(trained - prepared, 1),
        total_seconds=round(time.perf_counter() - start, 1),
        visualisations=str(visualisations),
    )
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    print(_report(metrics, summary, work_dir=folder))
    return summary


def _report(metrics: dict[str, float], summary: dict[str, Any], *, work_dir: Path) -> str:
    return "\n".join(
        [
            "",
            format_table(metrics, ("segm", "bbox"), prefix="coco/"),
            "",
            f"training  {summary['train_seconds']:.0f} s, in all {summary['total_seconds']:.0f} s",
            f"images    {summary['visualisations']}",
            f"curves    {work_dir / 'curves.png'}",
            f"summary   {work_dir / 'summary.json'}",
        ]
    )
