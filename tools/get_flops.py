"""Print the parameters and floating-point operations of a config's model."""

from __future__ import annotations

import argparse
import sys

from solo.command_line import add_config_options, run_command
from solo.config import load_config
from solo.engine.flops import describe_model


def parse_arguments() -> argparse.Namespace:
    """Parse the command line; options keep mmdet's spelling."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument(
        "--shape",
        nargs=2,
        type=int,
        metavar=("H", "W"),
        help="image size (default: the test pipeline's scale)",
    )
    add_config_options(parser)
    return parser.parse_args()


def main() -> None:
    """Parse the command line, count and print."""
    arguments = parse_arguments()
    config = load_config(arguments.config, overrides=arguments.cfg_options)
    print(describe_model(config, arguments.shape and tuple(arguments.shape)))


if __name__ == "__main__":
    sys.exit(run_command(main))
