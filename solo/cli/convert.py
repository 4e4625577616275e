"""Convert weights of mmdetection, WXinlong/SOLO, AdelaiDet or PaddleDetection for a config, or back to mmdetection."""

from __future__ import annotations

import argparse

from solo.checkpoints.convert import AUTO, MMDET, export_checkpoint, import_checkpoint
from solo.checkpoints.dialects import DIALECTS
from solo.checkpoints.state_dict import OURS
from solo.cli.options import add_config_options, add_offline_option, set_offline
from solo.cli.result_options import add_overwrite_option
from solo.errors import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to convert, for which config, and what to accept."""
    parser.add_argument("source", help="checkpoint to read: .pth, .pkl, .pdparams or .safetensors")
    parser.add_argument("target", help="checkpoint to write; TARGET.report.json lists what became of every tensor")
    parser.add_argument("--config", required=True, help="config of the model that the weights are for")
    parser.add_argument(
        "--source", dest="dialect", choices=[AUTO, *sorted(DIALECTS)], default=AUTO, help="naming scheme of the source"
    )
    parser.add_argument("--to", choices=[OURS, MMDET], default=OURS, help="names to write (default: %(default)s)")
    parser.add_argument(
        "--allow-missing",
        nargs="+",
        default=[],
        metavar="PATTERN",
        help="names, of the source or of the model, that may be unexplained or missing ('head.*')",
    )
    parser.add_argument("--weights-key", metavar="KEY", help="dotted key of the weights (default: detected)")
    parser.add_argument(
        "--trust-config",
        action="store_true",
        help="accept the image normalisation and backbone style of the config, whatever the source usually has",
    )
    add_overwrite_option(parser)
    add_offline_option(parser)
    add_config_options(parser)


def run(arguments: argparse.Namespace) -> None:
    """Convert and print the report."""
    set_offline(arguments)
    if arguments.to == MMDET:
        report = export_checkpoint(
            arguments.source,
            arguments.target,
            config=arguments.config,
            overrides=arguments.cfg_options,
            overwrite=arguments.overwrite,
        )
    else:
        report = import_checkpoint(
            arguments.source,
            arguments.target,
            config=arguments.config,
            overrides=arguments.cfg_options,
            dialect=arguments.dialect,
            allow_missing=arguments.allow_missing,
            weights_key=arguments.weights_key,
            trust_config=arguments.trust_config,
            overwrite=arguments.overwrite,
        )
    print("\n".join(map(printable, report.summary().split("\n"))))
