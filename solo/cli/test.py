"""Evaluate a checkpoint or an exported file on the test split of a config: mask AP and box AP."""

from __future__ import annotations

import argparse

from solo.checkpoints.hub import local_checkpoint
from solo.cli.options import (
    add_config_options,
    add_deployment_options,
    add_launcher_options,
    add_offline_option,
    parse_deployment,
    parse_runtime_options,
    set_local_rank,
    set_offline,
)
from solo.cli.result_options import add_overwrite_option, score
from solo.cli.tile_options import add_tile_options, parse_tiles
from solo.engine.malloc import keep_freed_memory
from solo.engine.testing import test
from solo.runtime.sessions import is_exported


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options keep mmdet's spelling."""
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint, or exported file")
    parser.add_argument("--work-dir", help="folder of log and detections (default: work_dirs/<config name>)")
    parser.add_argument("--resume", action="store_true", help="resume an interrupted evaluation of the work folder")
    parser.add_argument("--out", metavar="FILE.json", help="write the detections in COCO's results format")
    add_overwrite_option(parser)
    parser.add_argument("--report", metavar="DIR", help="folder for a report: curves, confusion, errors, worst images")
    parser.add_argument("--show-dir", metavar="DIR", help="folder for visualisations of the predictions")
    parser.add_argument("--show-score-thr", type=score, default=0.3, help="lowest score shown (default: %(default)s)")
    parser.add_argument("--max-images", type=int, help="maximum number of visualisations (default: all images)")
    parser.add_argument("--classwise", action="store_true", help="also print the AP of every class")
    parser.add_argument("--boundary", action="store_true", help="also compute boundary AP: masks near their outlines")
    parser.add_argument("--tta", action="store_true", help="test-time augmentation with scales and flips")
    add_tile_options(parser)
    add_deployment_options(parser, default="none")
    add_offline_option(parser)
    add_config_options(parser)
    add_launcher_options(parser)


def run(arguments: argparse.Namespace) -> None:
    """Test."""
    keep_freed_memory()
    set_local_rank(arguments)
    set_offline(arguments)
    checkpoint = local_checkpoint(arguments.checkpoint)
    parse = parse_runtime_options if is_exported(checkpoint) else parse_deployment
    test(
        arguments.config,
        checkpoint,
        work_dir=arguments.work_dir,
        out=arguments.out,
        report=arguments.report,
        overwrite=arguments.overwrite,
        show_dir=arguments.show_dir,
        show_score_thr=arguments.show_score_thr,
        max_images=arguments.max_images,
        classwise=arguments.classwise,
        boundary=arguments.boundary,
        resume=arguments.resume,
        tta=arguments.tta,
        **parse_tiles(arguments),
        deployment=parse(arguments.deploy),
        overrides=arguments.cfg_options,
        launcher=arguments.launcher,
    )
