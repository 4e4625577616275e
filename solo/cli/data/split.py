"""Split an annotation file by images into files for training, validation and testing."""

from __future__ import annotations

import argparse

from solo.cli.result_options import add_overwrite_option
from solo.datasets.insight.source import AnnotationSource
from solo.datasets.insight.splitting import GroupKey, split_images, write_split
from solo.datasets.insight.statistics import DataStatistics
from solo.datasets.insight.tables import format_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The file, the parts, and what stays together."""
    parser.add_argument("file", metavar="FILE", help="annotation file")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder of instances_{train,val,test}.json")
    parser.add_argument(
        "--fractions",
        nargs="+",
        type=float,
        default=[0.8, 0.2],
        metavar="F",
        help="of train and val, or of train, val and test (default: 0.8 0.2)",
    )
    parser.add_argument("--group", metavar="REGEX", help="images whose file names match alike stay together")
    parser.add_argument("--group-key", metavar="KEY", help="images whose records have the same value stay together")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives another split (default: 0)")
    add_overwrite_option(parser)


def run(arguments: argparse.Namespace) -> None:
    """Write the files and print what each part has."""
    source = AnnotationSource.open(arguments.file)
    key = GroupKey(pattern=arguments.group, field=arguments.group_key)
    parts = split_images(source, arguments.fractions, key=key, seed=arguments.seed)
    files = write_split(source, arguments.out, parts, overwrite=arguments.overwrite)
    rows = []
    for file in files:
        written = DataStatistics.from_source(AnnotationSource.open(file)).as_dict()
        counts = [str(row["objects"]) for row in written["classes"].values()]
        rows.append([str(file), str(written["images"]), *counts])
    print(format_table(["file", "images", *source.checked.classes], rows))
    if source.checked.report.left_out:
        print(f"{source.checked.report.left_out} unusable annotations were left out: `solo data check` names them")
    if source.has_images:
        print(f"image folder of all parts: {source.folder}")
