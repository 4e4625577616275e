"""Compare the detections of two models on the same images: differences of mask AP with bootstrap intervals."""

from __future__ import annotations

import argparse
import math

from solo.datasets.coco.annotations import read_annotations
from solo.errors import DataError, UserError, printable
from solo.evaluation.comparison import Comparison, Difference, compare
from solo.evaluation.results_files import read_results

COCO_MAX_DETS = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The files, and how to resample."""
    parser.add_argument("first", metavar="A", help="detections of `solo test --out`, or predictions.json")
    parser.add_argument("second", metavar="B", help="detections of another model, or of other settings")
    parser.add_argument("--annotations", required=True, metavar="FILE", help="COCO annotation file of the images")
    parser.add_argument(
        "--max-dets",
        type=int,
        help="detections of a class that count in an image (default: all that a file holds of one, but at least 100)",
    )
    parser.add_argument(
        "--resamples", type=int, default=1000, help="resamples of the images for the intervals (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the resamples (default: %(default)s)")


def run(arguments: argparse.Namespace) -> None:
    """Compare and print a table.

    Raises:
        UserError: an option is out of range, or a file cannot be used.
    """
    for name, low in (("resamples", 1), ("max_dets", 1), ("seed", 0)):
        value = getattr(arguments, name)
        if value is not None and value < low:
            raise UserError(f"--{name.replace('_', '-')} must be at least {low}, got {value}")
    annotations = read_annotations(arguments.annotations, for_evaluation=True)
    first, second = (read_results(path, annotations) for path in (arguments.first, arguments.second))
    most = max([COCO_MAX_DETS, *(len(image.labels) for image in (*first, *second))])
    try:
        comparison = compare(
            list(annotations.annotated_images()),
            first,
            second,
            classes=annotations.classes,
            max_dets=arguments.max_dets or most,
            resamples=arguments.resamples,
            seed=arguments.seed,
        )
    except ValueError as problem:
        raise DataError(f"{arguments.first}, {arguments.second}: {problem}") from None
    print(format_comparison(comparison, resamples=arguments.resamples, seed=arguments.seed))


def format_comparison(comparison: Comparison, *, resamples: int, seed: int) -> str:
    """A table: a row for each measure and each class, and what the interval says."""
    rows = [*comparison.overall, *(comparison.classes if len(comparison.classes) > 1 else [])]
    width = max(len(printable(row.name)) for row in rows)
    lines = [f"{'':{width}}       A       B     B - A    95 % interval  B is better in"]
    lines += [_row(row, width) for row in rows]
    lines.append(
        f"{comparison.images} images, {resamples} resamples of them, the same for A and B (seed {seed}). "
        f"{_verdict(comparison.overall[0])}"
    )
    return "\n".join(lines)


def _row(row: Difference, width: int) -> str:
    name = f"{printable(row.name):<{width}}"
    if math.isnan(row.difference) or math.isnan(row.low):
        return f"{name}       -       -         -                -               -"
    interval = f"{row.low:+.3f} to {row.high:+.3f}"
    values = f"{row.first:>8.3f}{row.second:>8.3f}{row.difference:>+10.3f}"
    return f"{name}{values}{interval:>17}{row.share_better:>16.1%}"


def _verdict(ap: Difference) -> str:
    if math.isnan(ap.low):
        return "There is no object to find."
    if ap.low > 0 or ap.high < 0:
        return f"{'B' if ap.low > 0 else 'A'} has the higher AP on images like these."
    return "The difference in AP may be due to the choice of the images."
