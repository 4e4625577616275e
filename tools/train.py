"""Train a model from a config file."""

from __future__ import annotations

import argparse
import sys

from solo.command_line import add_config_options, add_launcher_options, run_command, set_local_rank
from solo.engine.runner import train


def parse_arguments() -> argparse.Namespace:
    """Parse the command line; options keep mmdet's spelling."""
    parser = argparse.ArgumentParser(description=__doc__)
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
    return parser.parse_args()


def main() -> None:
    """Parse the command line and train."""
    arguments = parse_arguments()
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


if __name__ == "__main__":
    sys.exit(run_command(main))
