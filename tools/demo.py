"""Train a small model on generated shapes, evaluate it and visualise its predictions. Each run starts anew."""

from __future__ import annotations

import argparse
import sys

from solo.command_line import add_config_options, run_command
from solo.engine.demo import run_demo


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="configs/shapes/solov2-nano_shapes.py", help="default: %(default)s")
    parser.add_argument("--work-dir", default="work_dirs/demo", help="folder for the results (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    add_config_options(parser)
    return parser.parse_args()


def main() -> None:
    """Parse the command line and run."""
    arguments = parse_arguments()
    run_demo(arguments.config, work_dir=arguments.work_dir, seed=arguments.seed, overrides=arguments.cfg_options)


if __name__ == "__main__":
    sys.exit(run_command(main))
