"""Train a model from a config file."""

from __future__ import annotations

import argparse

from solo.cli.options import add_config_options, add_launcher_options, set_local_rank
from solo.engine.malloc import keep_freed_memory
from solo.engine.runner import train


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
    parser.add_argument("--amp", action="store_true", help="automatic mixed precision (on the CPU: bfloat16)")
    parser.add_argument("--auto-scale-lr", action="store_true", help="scale the learning rate by the real batch size")
    parser.add_argument("--seed", type=int, help="random seed (default: the config's)")
    parser.add_argument(
        "--deterministic",
        action="store_true",
        help="use deterministic operations only (equal runs on a GPU; slower)",
    )
    add_config_options(parser)
    add_launcher_options(parser)


def run(arguments: argparse.Namespace) -> None:
    """Train."""
    keep_freed_memory()
    set_local_rank(arguments)
    train(
        arguments.config,
        work_dir=arguments.work_dir,
        resume=arguments.resume,
        amp=arguments.amp,
        auto_scale_lr=arguments.auto_scale_lr,
        seed=arguments.seed,
        deterministic=arguments.deterministic,
        overrides=arguments.cfg_options,
        launcher=arguments.launcher,
    )
