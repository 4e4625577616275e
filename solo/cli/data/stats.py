"""Print statistics of annotation files: objects an image, sizes, classes, overlap; plot them when asked."""

from __future__ import annotations

import argparse
import json

from solo.cli.result_options import add_overwrite_option
from solo.datasets.insight.plots import plot_statistics, require_matplotlib
from solo.datasets.insight.source import AnnotationSource
from solo.datasets.insight.statistics import DataStatistics
from solo.errors import UserError, printable
from solo.output_files import check_outputs, write_output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The files, and what is written."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="annotation file")
    parser.add_argument("--plots", metavar="PNG", help="file for plots of one annotation file (needs matplotlib)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    add_overwrite_option(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print the statistics of each file.

    Raises:
        UserError: Plots are asked for several files.
    """
    if arguments.plots:
        if len(arguments.files) > 1:
            raise UserError(f"--plots takes one annotation file, got {len(arguments.files)}")
        require_matplotlib()
        check_outputs([arguments.plots], overwrite=arguments.overwrite, inputs=arguments.files)
    found = {}
    for file in arguments.files:
        source = AnnotationSource.open(file)
        statistics = DataStatistics.from_source(source)
        found[file] = statistics.as_dict()
        if not arguments.json:
            report = source.checked.report
            left_out = f" ({report.left_out} annotations left out: `solo data check`)" if report.left_out else ""
            print(f"{printable(file)}{left_out}:\n{statistics}\n")
        if arguments.plots:
            write_output(arguments.plots, plot_statistics(statistics))
    if arguments.json:
        print(json.dumps(found, indent=1))
