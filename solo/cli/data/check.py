"""Report what COCO annotation files contain: counts, and what is repaired or left out, and why."""

from __future__ import annotations

import argparse

from solo.datasets.coco.annotations import check_coco_file
from solo.errors import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The files."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="COCO annotation file")


def run(arguments: argparse.Namespace) -> int:
    """Print a report of each file; the exit code is 1 if annotations of one are left out."""
    left_out = 0
    for file in arguments.files:
        report = check_coco_file(file)
        left_out += report.left_out
        print("\n".join(map(printable, str(report).split("\n"))))
    return 1 if left_out else 0
