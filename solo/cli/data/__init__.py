"""Look at data before training: check, count, tune, browse; convert, split, merge and reduce annotation files."""

from __future__ import annotations

from solo.cli import Subcommand

SUBCOMMANDS = {
    "convert": Subcommand("solo.cli.data.convert", "convert a data set to COCO or YOLO"),
    "check": Subcommand("solo.cli.data.check", "what of annotations and images would fail or spoil a training"),
    "stats": Subcommand("solo.cli.data.stats", "objects an image, sizes, classes, overlap"),
    "tune": Subcommand("solo.cli.data.tune", "propose input size, crops, grids and limits as a config"),
    "split": Subcommand("solo.cli.data.split", "split an annotation file by images, stratified by class"),
    "merge": Subcommand("solo.cli.data.merge", "merge annotation files"),
    "browse": Subcommand("solo.cli.data.browse", "write a page of images as the training sees them"),
    "subset": Subcommand("solo.cli.data.subset", "write a part of an annotation file"),
}
