"""Convert weights of mmdetection, WXinlong/SOLO, AdelaiDet or PaddleDetection for a config, or back to mmdetection."""

from __future__ import annotations

import argparse
import sys

from solo.checkpoints.conversion import OURS
from solo.checkpoints.convert import AUTO, MMDET, export_checkpoint, import_checkpoint
from solo.checkpoints.dialects import DIALECTS
from solo.command_line import add_config_options, run_command


def main() -> None:
    """Parse, convert, print the account."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", help="checkpoint to read: .pth, .pkl, .pdparams or .safetensors")
    parser.add_argument("target", help="checkpoint to write; TARGET.report.json tells what became of every tensor")
    parser.add_argument("--config", required=True, help="config of the model that the weights are for")
    parser.add_argument(
        "--source", dest="dialect", choices=[AUTO, *sorted(DIALECTS)], default=AUTO, help="whose weights they are"
    )
    parser.add_argument("--to", choices=[OURS, MMDET], default=OURS, help="whose names to write (default: %(default)s)")
    parser.add_argument(
        "--allow-missing",
        nargs="+",
        default=[],
        metavar="PATTERN",
        help="names, of the source or of the model, that may stay unexplained or missing ('head.*')",
    )
    parser.add_argument("--weights-key", metavar="KEY", help="where the weights are in the file (default: found)")
    parser.add_argument(
        "--trust-config",
        action="store_true",
        help="do not insist on the image normalisation and backbone style that the source's models usually have",
    )
    add_config_options(parser)
    arguments = parser.parse_args()
    if arguments.to == MMDET:
        report = export_checkpoint(
            arguments.source, arguments.target, config=arguments.config, overrides=arguments.cfg_options
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
        )
    print(report.summary())


if __name__ == "__main__":
    sys.exit(run_command(main))
