"""Write a part of a COCO annotation file: some images, objects above a size, some classes."""

from __future__ import annotations

import argparse

from solo.cli.result_options import add_overwrite_option
from solo.datasets.coco.subset import write_subset


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The files, and what to keep."""
    parser.add_argument("source", help="COCO annotation file")
    parser.add_argument("target", help="file to write")
    parser.add_argument("--images", type=int, help="maximum number of images (default: all)")
    parser.add_argument("--min-side", type=float, default=0.0, help="sqrt(box area) in pixels must be larger")
    parser.add_argument("--classes", nargs="+", help="names of the classes to keep (default: all)")
    add_overwrite_option(parser)


def run(arguments: argparse.Namespace) -> None:
    """Write the file and print the counts."""
    counts = write_subset(
        arguments.source,
        arguments.target,
        num_images=arguments.images,
        min_side=arguments.min_side,
        classes=arguments.classes,
        overwrite=arguments.overwrite,
    )
    print(
        f"{arguments.target}: {counts['images']} images with {counts['objects']} objects "
        f"({counts['objects_dropped']} objects of these images left out)"
    )
