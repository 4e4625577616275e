"""Convert a data set to COCO or YOLO: labelme, Pascal VOC, SBD, Cityscapes, masks in image files, YOLO, COCO."""

from __future__ import annotations

import argparse

from solo.cli.result_options import add_overwrite_option
from solo.datasets.formats.conversion import FORMATS, TARGETS, convert


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The data set, the target, and what to write."""
    parser.add_argument("source", help="folder of the data set, or its COCO file or data.yaml")
    parser.add_argument("target", help="folder to make, or a .json file for COCO annotations alone")
    parser.add_argument("--from", dest="source_format", choices=list(FORMATS), help="format of the source")
    parser.add_argument("--to", dest="target_format", choices=TARGETS, default="coco", help="format to write")
    parser.add_argument(
        "--masks",
        choices=["as-is", "rle", "polygons"],
        default="as-is",
        help="masks of COCO: as in the source, or all of one kind (default: as-is)",
    )
    parser.add_argument(
        "--classes", nargs="+", default=(), help="classes to keep, in this order; the names of classes that have none"
    )
    parser.add_argument("--images", choices=["copy", "link"], default="copy", help="copy image files, or link to them")
    add_overwrite_option(parser)


def run(arguments: argparse.Namespace) -> None:
    """Convert, and print the counts and what is left out."""
    report = convert(
        arguments.source,
        arguments.target,
        source_format=arguments.source_format,
        target_format=arguments.target_format,
        masks=arguments.masks,
        classes=arguments.classes,
        images=arguments.images,
        overwrite=arguments.overwrite,
    )
    print(f"{arguments.target}: {report}")
