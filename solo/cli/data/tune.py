"""Propose input size, crops, grids and limits for annotations, and write them as a config."""

from __future__ import annotations

import argparse
import json
import os
import re
from pathlib import Path
from typing import Any

from mmengine.registry import init_default_scope

from solo.cli.result_options import add_overwrite_option
from solo.config import load_config
from solo.config.load import config_files
from solo.config.names import find_config
from solo.datasets.insight.base_settings import read_settings
from solo.datasets.insight.object_losses import REASONS
from solo.datasets.insight.proposed_config import proposal_text
from solo.datasets.insight.source import AnnotationSource
from solo.datasets.insight.tables import format_table
from solo.datasets.insight.tuning import Budget, TuningOption, TuningResult, tune
from solo.output_files import check_outputs, write_output

DEFAULT_BASE = "solov2-nano_custom"
_LOST = dict(zip(REASONS, ("no pixel", "range", "area", "cells", "limits"), strict=True))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The annotations, the base, the budget."""
    parser.add_argument("annotations", help="annotation file of the training images")
    parser.add_argument("--val", help="annotation file of the validation images (default: the train file's neighbour)")
    parser.add_argument("--images", metavar="FOLDER", help="folder of the training images (default: looked for)")
    parser.add_argument("--config", default=DEFAULT_BASE, help=f"config to start from (default: {DEFAULT_BASE})")
    parser.add_argument("--write", metavar="FILE", help="write the proposal as a config that inherits --config")
    parser.add_argument(
        "--budget",
        type=float,
        default=1.0,
        help="cost of the training, in pixels of network input relative to the base (default: 1)",
    )
    parser.add_argument(
        "--test-budget", type=float, default=4.0, help="cost of a test likewise, all tiles counted (default: 4)"
    )
    parser.add_argument("--sample", type=int, default=100, help="images that are looked at (default: 100)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sample")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_overwrite_option(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print what each size loses, and write the config."""
    budget = Budget(train=arguments.budget, test=arguments.test_budget)
    val_path = arguments.val or _neighbour(arguments.annotations)
    base_file = find_config(arguments.config)
    if arguments.write:
        inputs = [arguments.annotations, *([val_path] if val_path else []), *config_files(base_file)]
        check_outputs([arguments.write], overwrite=arguments.overwrite, inputs=inputs)
    config = load_config(base_file)
    init_default_scope("solo")
    train = AnnotationSource.open(arguments.annotations, images=arguments.images)
    val = AnnotationSource.open(val_path) if val_path else None
    sizes = [(record["height"], record["width"]) for record in train.checked.images[:: _step(train)]]
    settings = read_settings(config, sizes)
    result = tune(train, settings, budget=budget, num_images=arguments.sample, seed=arguments.seed)
    print(json.dumps(_as_json(result), indent=1) if arguments.json else _as_table(result))
    if arguments.write:
        base = arguments.config if base_file != Path(arguments.config).expanduser() else _relative(base_file, arguments)
        text = proposal_text(result, config, base=base, train=train, val=val)
        write_output(arguments.write, text.encode())
        if not arguments.json:
            print(f"written: {arguments.write}; train with `solo train {arguments.write}`")


def _relative(base_file: Path, arguments: argparse.Namespace) -> str:
    """The base as a path from the folder of the config that is written."""
    return os.path.relpath(base_file.resolve(), Path(arguments.write).resolve().parent)


def _neighbour(path: str) -> str | None:
    """The file of the same name with `val` in place of `train`, if there is one."""
    file = Path(path).expanduser()
    found = file.with_name(re.sub("train", "val", file.name))
    # A part of a YOLO data set is named FOLDER/data.yaml#train.
    exists = Path(str(found).partition("#")[0]).is_file()
    return str(found) if found != file and exists else None


def _step(source: AnnotationSource) -> int:
    """Every so many-th image is used to measure the base's cost."""
    return max(1, len(source.checked.images) // 20)


def _rows(result: TuningResult) -> list[tuple[str, TuningOption]]:
    return [("base", result.base), *(("proposed" if o is result.chosen else o.refusal, o) for o in result.options)]


def _as_table(result: TuningResult) -> str:
    header = ["input", "num_grids", "train cost", "test cost", *_LOST.values(), "lost", "AP bound", ""]
    rows = [
        [
            str(option.plan),
            " ".join(map(str, option.grid.num_grids)),
            f"{option.train_cost:.2f}",
            f"{option.test_cost:.2f}",
            *(f"{option.losses.share(reason):.1%}" for reason in REASONS),
            f"{option.losses.lost:.1%}",
            f"{option.reachable_ap:.3f}",
            note,
        ]
        for note, option in _rows(result)
    ]
    chosen = result.chosen
    return "\n".join(
        [
            f"{result.num_objects} objects in {result.num_images} images were looked at; at most {result.most_objects} "
            f"objects in one image; {result.in_pieces:.1%} of the objects are in several pieces",
            "shares of the objects lost: "
            + ", ".join(f"{short} = {reason}" for reason, short in _LOST.items())
            + "; costs are pixels of network input relative to the base",
            format_table(header, rows),
            f"proposed: {chosen.plan}, num_grids {list(chosen.grid.num_grids)}, max_per_img "
            f"{chosen.limits.max_per_img}, nms_pre {chosen.limits.nms_pre}, max_dets {chosen.limits.max_dets}, "
            f"largest_component {result.largest_component}",
        ]
    )


def _as_json(result: TuningResult) -> dict[str, Any]:
    return {
        "images": result.num_images,
        "objects": result.num_objects,
        "most_objects": result.most_objects,
        "in_pieces": result.in_pieces,
        "largest_component": result.largest_component,
        "options": [_option_as_json(note, option) for note, option in _rows(result)],
    }


def _option_as_json(note: str, option: TuningOption) -> dict[str, Any]:
    return {
        "note": note,
        "scale": option.plan.scale,
        "tile": option.plan.tile,
        "num_grids": option.grid.num_grids,
        "scale_ranges": option.grid.scale_ranges,
        "limits": option.limits._asdict(),
        "train_cost": option.train_cost,
        "test_cost": option.test_cost,
        "lost": {reason: option.losses.share(reason) for reason in REASONS},
        "ap_bound": option.reachable_ap,
    }
