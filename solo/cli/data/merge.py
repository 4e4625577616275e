"""Merge annotation files into one COCO file: classes by name, new ids, image paths that stay valid."""

from __future__ import annotations

import argparse

from solo.cli.result_options import add_overwrite_option
from solo.datasets.insight.merging import merge_sources
from solo.datasets.insight.source import AnnotationSource, pair_folders
from solo.errors import UserError, printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The files, their images, and the file to write."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="annotation file")
    parser.add_argument("--out", required=True, metavar="FILE", help="file to write")
    parser.add_argument("--images", nargs="+", metavar="FOLDER", help="image folder, for all or for each file")
    parser.add_argument("--rename", nargs="+", default=[], metavar="OLD=NEW", help="give classes another name first")
    add_overwrite_option(parser)


def run(arguments: argparse.Namespace) -> None:
    """Write the file and print the counts.

    Raises:
        UserError: A word of --rename is not OLD=NEW.
    """
    pairs = [word.partition("=") for word in arguments.rename]
    for old, equals, new in pairs:
        if not (old and equals and new):
            raise UserError(f"--rename {old}{equals}{new}: expected OLD=NEW")
    folders = pair_folders(arguments.files, arguments.images)
    sources = [
        AnnotationSource.open(file, images=folder) for file, folder in zip(arguments.files, folders, strict=True)
    ]
    renamed = {old: new for old, _, new in pairs}
    merged = merge_sources(sources, arguments.out, renamed=renamed, overwrite=arguments.overwrite)
    print(
        f"{arguments.out}: {merged.images} images, {merged.annotations} annotations of the classes "
        f"{printable(', '.join(merged.classes))}"
    )
    if merged.left_out:
        print(f"{merged.left_out} unusable annotations were left out: `solo data check` names them")
    if merged.folder is None:
        print("file names are unchanged: the images of a file were not found; --images names their folders")
    else:
        print(f"image folder, for data_prefix.img: {merged.folder}")
