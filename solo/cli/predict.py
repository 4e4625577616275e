"""Predict the instances of image files; write a visualisation of each and predictions.json."""

from __future__ import annotations

import argparse
import signal
import sys
from types import FrameType

from solo.cli.options import (
    add_config_options,
    add_deployment_options,
    add_overwrite_option,
    parse_deployment,
    score,
)
from solo.config import config_files, load_config
from solo.engine.malloc import keep_freed_memory
from solo.errors import printable
from solo.inference.predict_files import find_images, predict_files
from solo.inference.predictor import SOLOPredictor
from solo.inference.writers import PREDICTIONS_FILE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options keep mmdet's spelling where mmdet has them."""
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="image file, folder, or quoted glob ('a/**/*.jpg')")
    parser.add_argument("--config", required=True, help="config file")
    parser.add_argument("--checkpoint", required=True, help="checkpoint file")
    parser.add_argument("--out-dir", default="predictions", help="folder of the results (default: %(default)s)")
    parser.add_argument("--score-thr", type=score, default=0.3, help="lowest score kept (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    parser.add_argument("--tta", action="store_true", help="test-time augmentation: merge several views of each image")
    add_overwrite_option(parser)
    add_deployment_options(parser, default="auto")
    add_config_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Predict and print a summary; the exit code is 1 if no image could be read, 143 after SIGTERM."""
    keep_freed_memory()
    signal.signal(signal.SIGTERM, _exit)
    images = find_images(arguments.inputs)
    config = load_config(arguments.config, overrides=arguments.cfg_options)
    predictor = SOLOPredictor(
        config,
        arguments.checkpoint,
        device=None if arguments.device == "auto" else arguments.device,
        tta=arguments.tta,
        deployment=parse_deployment(arguments.deploy),
    )
    summary = predict_files(
        images,
        predictor=predictor,
        out_dir=arguments.out_dir,
        score_thr=arguments.score_thr,
        overwrite=arguments.overwrite,
        inputs=[*config_files(config.filename), arguments.checkpoint],
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
