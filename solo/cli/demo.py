"""Train a small model on generated shapes, evaluate it and visualise its predictions. Each run starts anew."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from solo.cli.options import add_config_options
from solo.config import load_config
from solo.engine.hooks.checkpoint import latest_checkpoint
from solo.engine.malloc import keep_freed_memory
from solo.engine.testing import test
from solo.engine.training import train
from solo.errors import CheckpointError
from solo.evaluation.ap_table import format_table
from solo.registry import DATASETS

IMAGE_COUNT = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The config, the seed and the folder of the results."""
    parser.add_argument("--config", default="solov2-nano_shapes", help="default: %(default)s")
    parser.add_argument("--work-dir", default="work_dirs/demo", help="folder for the results (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    add_config_options(parser)


def run(arguments: argparse.Namespace) -> None:
    """Train a config afresh, evaluate its last checkpoint, visualise predictions, write `summary.json`, report."""
    keep_freed_memory()
    folder = Path(arguments.work_dir)
    visualisations = str(folder / "visualisations")
    options: dict[str, Any] = dict(work_dir=arguments.work_dir, overrides=arguments.cfg_options)
    start = time.perf_counter()
    # The data set is generated when it is first built; that does not count as training time.
    DATASETS.build(load_config(arguments.config, overrides=arguments.cfg_options).train_dataloader.dataset)
    prepared = time.perf_counter()
    train(arguments.config, seed=arguments.seed, **options)
    trained = time.perf_counter()
    checkpoint = latest_checkpoint(folder)
    if checkpoint is None:
        raise CheckpointError(f"{folder}: the training saved no checkpoint; its config needs a CheckpointHook")
    metrics = test(arguments.config, str(checkpoint), show_dir=visualisations, max_images=IMAGE_COUNT, **options)
    summary = dict(
        mask_AP=metrics["coco/segm_mAP"],
        box_AP=metrics["coco/bbox_mAP"],
        train_seconds=round(trained - prepared, 1),
        total_seconds=round(time.perf_counter() - start, 1),
        visualisations=visualisations,
    )
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    print(report(metrics, summary, work_dir=folder))


def report(metrics: dict[str, float], summary: dict[str, Any], *, work_dir: Path) -> str:
    """Format the AP table, the times and where the results are."""
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
