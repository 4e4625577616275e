"""Check annotation files and their images before training: what would fail, and what would spoil the result.

The first file is the one to train on, the others are those to evaluate. The exit code is 1 where training would fail.
"""

from __future__ import annotations

import argparse
import json

from solo.datasets.insight.checks import check_sources
from solo.datasets.insight.findings import findings_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The files, where their images are, and the form of the report."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="annotation file; the one to train on first")
    parser.add_argument("--images", nargs="+", metavar="FOLDER", help="image folder, for all or for each file")
    parser.add_argument("--no-images", action="store_true", help="check the annotations alone")
    parser.add_argument("--strict", action="store_true", help="exit code 1 for warnings too")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(arguments: argparse.Namespace) -> int:
    """Print what was found; the exit code is 1 if training would fail."""
    findings = check_sources(arguments.files, images=arguments.images, with_images=not arguments.no_images)
    severities = {found.severity for found in findings}
    if arguments.json:
        print(json.dumps([found.as_dict() for found in findings], indent=1, default=str))
    else:
        print(findings_table(findings))
        if "failure" in severities:
            print("training would fail")
    return 1 if "failure" in severities or (arguments.strict and "warning" in severities) else 0
