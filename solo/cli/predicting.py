"""What `solo predict` and `python -m solo.runtime` share: the options of images and results, and the run.

Imports no torch: exported files are run without it.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from solo.cli.result_options import add_overwrite_option, score
from solo.errors import printable
from solo.inference.predict_files import find_images, predict_files
from solo.inference.predictor import SOLOPredictor
from solo.inference.writers import PREDICTIONS_FILE


def add_prediction_options(parser: argparse.ArgumentParser) -> None:
    """Add the images, and the options of the results; mmdet's spelling where mmdet has them."""
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="image file, folder, or quoted glob ('a/**/*.jpg')")
    parser.add_argument("--out-dir", default="predictions", help="folder of the results (default: %(default)s)")
    parser.add_argument("--score-thr", type=score, default=0.3, help="lowest score kept (default: %(default)s)")
    add_overwrite_option(parser)


def predict_images(
    arguments: argparse.Namespace, open_predictor: Callable[[], tuple[SOLOPredictor, Sequence[Path | str]]]
) -> int:
    """Predict and print a summary; the exit code is 1 if no image could be read, 143 after SIGTERM.

    Args:
        arguments: with those of `add_prediction_options`.
        open_predictor: gives the predictor and the files that it was read from, which results never replace.
    """
    signal.signal(signal.SIGTERM, _exit)
    images = find_images(arguments.inputs)
    predictor, inputs = open_predictor()
    summary = predict_files(
        images,
        predictor=predictor,
        out_dir=arguments.out_dir,
        score_thr=arguments.score_thr,
        overwrite=arguments.overwrite,
        inputs=inputs,
    )
    for problem in summary.unreadable:
        print(f"skipped: {printable(str(problem))}", file=sys.stderr)
    print(
        f"{summary.images} images, {summary.objects} objects, {summary.seconds:.1f} s on {predictor.device};"
        f" visualisations and {PREDICTIONS_FILE} are in {arguments.out_dir}"
        + (f"; {len(summary.unreadable)} could not be read" if summary.unreadable else "")
    )
    return 0 if summary.images else 1


def _exit(number: int, frame: FrameType | None) -> None:
    """Exit as after Ctrl-C, with what was predicted so far in the json."""
    sys.exit(128 + number)
