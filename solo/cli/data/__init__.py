"""Check annotation files, convert data sets, and write parts of them."""

from __future__ import annotations

from solo.cli import Subcommand

SUBCOMMANDS = {
    "check": Subcommand("solo.cli.data.check", "report what annotation files contain and what is left out of them"),
    "convert": Subcommand("solo.cli.data.convert", "convert a data set to COCO or YOLO"),
    "subset": Subcommand("solo.cli.data.subset", "write a part of an annotation file"),
}
