"""Print a config with everything that it inherits."""

from __future__ import annotations

import argparse
import sys

from solo.command_line import add_config_options, run_command
from solo.config import load_config


def parse_arguments() -> argparse.Namespace:
    """The options keep mmdet's spelling."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file")
    add_config_options(parser)
    return parser.parse_args()


def main() -> None:
    """Parse, check, print."""
    arguments = parse_arguments()
    print(load_config(arguments.config, overrides=arguments.cfg_options).pretty_text, end="")


if __name__ == "__main__":
    sys.exit(run_command(main))
