"""Write a trained model into a folder: weights alone, config, and a card with measurements. Nothing is uploaded."""

from __future__ import annotations

import argparse

from solo.checkpoints.publishing import publish
from solo.cli.options import add_config_options, add_offline_option, set_offline
from solo.cli.result_options import add_overwrite_option
from solo.errors import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to publish, and where."""
    parser.add_argument("checkpoint", help="checkpoint of a training, or hf://ORG/REPO/FILE")
    parser.add_argument("folder", help="folder to write")
    parser.add_argument("--config", required=True, help="config of the model")
    parser.add_argument(
        "--format", choices=["safetensors", "pth"], default="safetensors", help="of the weights (default: %(default)s)"
    )
    parser.add_argument("--half", action="store_true", help="float16 weights, in half the bytes")
    parser.add_argument("--report", metavar="FILE", help="report.json of `solo test --report`, for the card")
    parser.add_argument("--licence", default="", metavar="TEXT", help="licence of the weights, such as apache-2.0")
    add_offline_option(parser)
    add_overwrite_option(parser)
    add_config_options(parser)


def run(arguments: argparse.Namespace) -> None:
    """Write the files and print their names."""
    set_offline(arguments)
    files = publish(
        arguments.checkpoint,
        arguments.folder,
        config=arguments.config,
        overrides=arguments.cfg_options,
        format=arguments.format,
        half=arguments.half,
        report=arguments.report,
        licence=arguments.licence,
        overwrite=arguments.overwrite,
    )
    print("published " + ", ".join(printable(str(file)) for file in files))
