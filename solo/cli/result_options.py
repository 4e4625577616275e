"""Options of commands that write results. Imports no torch: exported files are run without it."""

from __future__ import annotations

import argparse


def add_overwrite_option(parser: argparse.ArgumentParser) -> None:
    """Add `--overwrite`, for commands that write results."""
    parser.add_argument("--overwrite", action="store_true", help="replace result files that exist")


def score(text: str) -> float:
    """Parse a score; for the `type` of an option.

    Raises:
        argparse.ArgumentTypeError: the text is not a number from 0 to 1.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a score from 0 to 1, got {text}")
    return value


def positive(text: str) -> int:
    """Parse a whole number above 0; for the `type` of an option.

    Raises:
        argparse.ArgumentTypeError: the text is none.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text}")
    return int(text)


def not_negative(text: str) -> float:
    """Parse a finite number of at least 0; for the `type` of an option.

    Raises:
        argparse.ArgumentTypeError: the text is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number of at least 0, got {text}")
    return value
