"""What `solo predict` and `python -m solo.runtime` share: the options of sources and results, and the run.

Imports no torch: exported files are run without it.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from solo.cli.progress import ProgressLine
from solo.cli.result_options import add_overwrite_option, not_negative, positive, score
from solo.errors import ConfigError, printable
from solo.images.reading import default_max_pixels
from solo.inference.predict_files import PredictionSummary, predict_files
from solo.inference.predictor import SOLOPredictor
from solo.inference.sources import SourceReport, open_source
from solo.inference.sources.paths import describe_suffixes
from solo.inference.tracking import TRACKERS, make_tracker
from solo.inference.writers import PREDICTIONS_FILE, ResultOptions


def add_prediction_options(parser: argparse.ArgumentParser) -> None:
    """Add the sources, and the options of the results; mmdet's or ultralytics' spelling where they have them."""
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="SOURCE",
        help="image or video file, folder, quoted glob ('a/**/*.jpg'), text file of paths, - for paths on stdin, "
        "index of a camera, or URL of a stream (rtsp://, http://)",
    )
    parser.add_argument("--out-dir", default="predictions", help="folder of the results (default: %(default)s)")
    parser.add_argument("--score-thr", type=score, default=0.3, help="lowest score kept (default: %(default)s)")
    parser.add_argument(
        "--batch-size",
        type=positive,
        default=1,
        help="images that go through the network at once (default: %(default)s)",
    )
    parser.add_argument(
        "--vid-stride", type=positive, default=1, help="predict every n-th frame of videos (default: %(default)s)"
    )
    parser.add_argument(
        "--track",
        choices=TRACKERS,
        help="identities across the frames of a video: bytetrack (pip install 'solov2[track]'), or iou, which joins "
        "masks that overlap",
    )
    add_overwrite_option(parser)
    _add_result_options(parser.add_argument_group("more results, in --out-dir"))


def _add_result_options(group: argparse._ArgumentGroup) -> None:
    options = {
        "--save-txt": "labels/NAME.txt: YOLO's segmentation labels, and classes.txt",
        "--save-masks": "masks/NAME.png: label maps of 16 bits, 0 background, i + 1 instance i",
        "--save-coco": "coco.json: a COCO data set",
        "--save-labelme": "labelme/NAME.json: files of labelme",
        "--save-crops": "crops/CLASS/NAME_NUMBER.png: cut-outs with transparency",
        "--save-video": "NAME.mp4 of each video or stream, with the instances drawn (H.264)",
    }
    for name, text in options.items():
        group.add_argument(name, action="store_true", help=text)
    group.add_argument("--show", action="store_true", help="show the frames in a window; q ends the prediction")
    group.add_argument("--polygons", action="store_true", help="write polygons into coco.json, instead of RLEs")
    group.add_argument(
        "--simplify",
        type=not_negative,
        default=0.0,
        metavar="PIXELS",
        help="move the outlines of polygons by up to so many pixels to save points (default: %(default)s)",
    )


def parse_result_options(arguments: argparse.Namespace) -> ResultOptions:
    """The results that the arguments ask for.

    Raises:
        ConfigError: an option has no effect with the others.
    """
    if arguments.polygons and not arguments.save_coco:
        raise ConfigError("--polygons changes --save-coco, which is not given")
    if arguments.simplify and not (arguments.save_txt or arguments.save_labelme or arguments.polygons):
        raise ConfigError("--simplify changes polygons: expected --save-txt, --save-labelme or --polygons too")
    names = ("txt", "masks", "coco", "labelme", "crops", "video")
    return ResultOptions(
        **{name: getattr(arguments, f"save_{name}") for name in names},
        show=arguments.show,
        polygons=arguments.polygons,
        simplify=arguments.simplify,
    )


def predict_images(
    arguments: argparse.Namespace, open_predictor: Callable[[], tuple[SOLOPredictor, Sequence[Path | str]]]
) -> int:
    """Predict and print a summary; the exit code is 1 if no image could be read, 143 after SIGTERM.

    Args:
        arguments: with those of `add_prediction_options`.
        open_predictor: gives the predictor and the files that it was read from, which results never replace.
    """
    signal.signal(signal.SIGTERM, exit_on_signal)
    options = parse_result_options(arguments)
    source = open_source(arguments.inputs, stride=arguments.vid_stride)
    if options.video and not source.has_video:
        raise ConfigError(f"--save-video: {printable(arguments.inputs[0])} holds no video")
    tracker = make_tracker(arguments.track, score_thr=arguments.score_thr) if arguments.track else None
    if not source.is_live:
        source.connect()  # a video that cannot be opened is found before the model is loaded
    predictor, inputs = open_predictor()
    progress = ProgressLine(source.length())
    try:
        summary = predict_files(
            source,
            predictor=predictor,
            out_dir=arguments.out_dir,
            score_thr=arguments.score_thr,
            batch_size=arguments.batch_size,
            options=options,
            tracker=tracker,
            overwrite=arguments.overwrite,
            inputs=inputs,
            on_frame=lambda so_far: progress.update(so_far.images),
        )
    finally:
        progress.close()
    _print_problems(summary.report)
    for name, losses in summary.losses.items():
        lost = ", ".join(f"{count} {what}" for what, count in losses.items())
        print(f"{name} cannot hold all: {lost}", file=sys.stderr)
    if summary.undrawn:
        print(
            f"not drawn: {summary.undrawn} of more than {default_max_pixels()} pixels, read by windows", file=sys.stderr
        )
    _print_summary(summary, out_dir=arguments.out_dir, device=str(predictor.device))
    return 0 if summary.images else 1


def _print_problems(report: SourceReport) -> None:
    for problem in report.skipped:
        print(f"skipped: {printable(problem)}", file=sys.stderr)
    if report.passed_over:
        print(f"passed over in folders: {describe_suffixes(report.passed_over)}", file=sys.stderr)
    if report.ended:
        print(f"ended: {printable(report.ended)}", file=sys.stderr)


def _print_summary(summary: PredictionSummary, *, out_dir: str, device: str) -> None:
    report = summary.report
    counts = {
        "could not be read": len(report.skipped),
        "corrupt frames": report.corrupt,
        "frames dropped for newer ones": report.dropped,
        "reconnects": report.reconnects,
    }
    rate = f", {summary.images / summary.seconds:.1f} images/s" if summary.images else ""
    print(
        f"{summary.images} images, {summary.objects} objects, {summary.seconds:.1f} s on {device}{rate};"
        f" visualisations and {PREDICTIONS_FILE} are in {out_dir}"
        + "".join(f"; {count} {what}" for what, count in counts.items() if count)
    )


def exit_on_signal(number: int, frame: FrameType | None) -> None:
    """Exit as after Ctrl-C, so that files are closed; a handler of signals."""
    sys.exit(128 + number)
