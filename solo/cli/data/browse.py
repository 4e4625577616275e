"""Write a page of training samples: images after the training pipeline, masks, grid cells, what is dropped and why."""

from __future__ import annotations

import argparse

from mmengine.registry import init_default_scope

from solo.cli.result_options import add_overwrite_option
from solo.config import load_config
from solo.config.load import config_files
from solo.config.names import find_config
from solo.datasets.insight.browsing import browse_page
from solo.datasets.insight.source import AnnotationSource
from solo.errors import UserError
from solo.output_files import check_outputs, write_output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The annotations, the config, and the page."""
    parser.add_argument("annotations", help="annotation file of the training images")
    parser.add_argument("--config", default="solov2-nano_custom", help="config (default: solov2-nano_custom)")
    parser.add_argument("--images", metavar="FOLDER", help="folder of the images (default: looked for)")
    parser.add_argument("--out", default="browse.html", metavar="HTML", help="file to write (default: browse.html)")
    parser.add_argument("--num", type=int, default=24, help="number of images (default: 24)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample and the random transforms")
    parser.add_argument("--epoch", type=int, default=0, help="whose random transforms are applied")
    add_overwrite_option(parser)


def run(arguments: argparse.Namespace) -> None:
    """Write the page.

    Raises:
        UserError: The number of images is below 1.
    """
    if arguments.num < 1:
        raise UserError(f"--num must be at least 1, got {arguments.num}")
    file = find_config(arguments.config)
    inputs = [arguments.annotations, *config_files(file)]
    check_outputs([arguments.out], overwrite=arguments.overwrite, inputs=inputs)
    config = load_config(file)
    init_default_scope("solo")
    source = AnnotationSource.open(arguments.annotations, images=arguments.images)
    page = browse_page(source, config, num_images=arguments.num, seed=arguments.seed, epoch=arguments.epoch)
    write_output(arguments.out, page)
    print(f"{arguments.out}: open it in a browser; it needs no server")
