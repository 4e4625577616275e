"""Options of commands that predict by tiles. Imports no torch: exported files are run without it."""

from __future__ import annotations

import argparse
from typing import Any


def add_tile_options(parser: argparse.ArgumentParser) -> None:
    """Add `--tile`, `--overlap` and `--tile-scale`, parsed by `parse_tiles`."""
    parser.add_argument(
        "--tile",
        type=int,
        metavar="PIXELS",
        help="cut images into tiles of this side and join their objects; 0 for whole images (default: the model's)",
    )
    parser.add_argument(
        "--overlap",
        type=float,
        metavar="FRACTION",
        help="least overlap of neighbouring tiles, a fraction of their side (default: the model's, or 0.2)",
    )
    parser.add_argument(
        "--tile-scale",
        type=scale,
        metavar="FACTOR|WxH",
        help="resize images by this factor, or to fit into W x H pixels, before they are cut (default: the model's, "
        "or 1)",
    )


def parse_tiles(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options as arguments of `SOLOPredictor` and of `solo.test`."""
    return dict(tile=arguments.tile, overlap=arguments.overlap, tile_scale=arguments.tile_scale)


def scale(text: str) -> float | tuple[int, int]:
    """Parse a factor or a size.

    Raises:
        argparse.ArgumentTypeError: the text is neither.
    """
    width, is_size, height = text.partition("x")
    try:
        return (int(width), int(height)) if is_size else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a factor or WIDTHxHEIGHT, got {text}") from None
