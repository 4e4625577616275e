"""Print a config with everything that it inherits."""

from __future__ import annotations

import argparse

from solo.cli.options import add_config_options
from solo.config import load_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options keep mmdet's spelling."""
    parser.add_argument("config", help="config file")
    add_config_options(parser)


def run(arguments: argparse.Namespace) -> None:
    """Check and print."""
    print(load_config(arguments.config, overrides=arguments.cfg_options).pretty_text, end="")
