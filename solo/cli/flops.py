"""Print the parameters and floating-point operations of a config's model."""

from __future__ import annotations

import argparse

from solo.cli.options import add_config_options
from solo.config import load_config
from solo.engine.flops import describe_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options keep mmdet's spelling."""
    parser.add_argument("config", help="config file")
    parser.add_argument(
        "--shape",
        nargs=2,
        type=int,
        metavar=("H", "W"),
        help="image size (default: the test pipeline's scale)",
    )
    add_config_options(parser)


def run(arguments: argparse.Namespace) -> None:
    """Count and print."""
    config = load_config(arguments.config, overrides=arguments.cfg_options)
    print(describe_model(config, arguments.shape and tuple(arguments.shape)))
