"""Train a model from a config file."""

from __future__ import annotations

import argparse
from typing import Literal

from solo.cli.options import (
    add_config_options,
    add_launcher_options,
    add_offline_option,
    set_local_rank,
    set_offline,
)
from solo.engine.malloc import keep_freed_memory
from solo.engine.trackers import TRACKERS
from solo.engine.training import train


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options keep mmdet's spelling."""
    parser.add_argument("config", help="config file")
    parser.add_argument("--work-dir", help="folder of logs and checkpoints (default: work_dirs/<config name>)")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="resume from a checkpoint; without a value, from the latest one of the work folder",
    )
    parser.add_argument(
        "--epochs",
        type=int,
        metavar="N",
        help="length of the training and its learning-rate schedule (default: the config's)",
    )
    parser.add_argument("--amp", action="store_true", help="automatic mixed precision (on the CPU: bfloat16)")
    parser.add_argument("--auto-scale-lr", action="store_true", help="scale the learning rate by the real batch size")
    parser.add_argument(
        "--batch-size",
        type=_batch_size,
        metavar="N|auto",
        help="images a step and process; auto: as many as fit into the memory (default: the config's)",
    )
    parser.add_argument("--val-loss", action="store_true", help="compute the loss on the validation data too")
    parser.add_argument(
        "--freeze",
        nargs="+",
        default=[],
        metavar="PATTERN",
        help="parameters that are not trained, such as 'backbone.*'",
    )
    parser.add_argument(
        "--log", nargs="+", default=[], choices=TRACKERS, help="experiment trackers to log to, beside the work folder"
    )
    parser.add_argument("--seed", type=int, help="random seed (default: the config's)")
    parser.add_argument(
        "--deterministic",
        action="store_true",
        help="use deterministic operations only (equal runs on a GPU; slower)",
    )
    add_offline_option(parser)
    add_config_options(parser)
    add_launcher_options(parser)


def run(arguments: argparse.Namespace) -> None:
    """Train."""
    keep_freed_memory()
    set_local_rank(arguments)
    set_offline(arguments)
    train(
        arguments.config,
        work_dir=arguments.work_dir,
        resume=arguments.resume,
        amp=arguments.amp,
        epochs=arguments.epochs,
        auto_scale_lr=arguments.auto_scale_lr,
        seed=arguments.seed,
        deterministic=arguments.deterministic,
        batch_size=arguments.batch_size,
        val_loss=arguments.val_loss,
        freeze=arguments.freeze,
        trackers=arguments.log,
        overrides=arguments.cfg_options,
        launcher=arguments.launcher,
    )


def _batch_size(text: str) -> int | Literal["auto"]:
    if text == "auto":
        return "auto"
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1, or auto, got {text}")
    return int(text)
