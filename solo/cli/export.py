"""Export a checkpoint to a file that runs without it: ONNX, OpenVINO or torch.export."""

from __future__ import annotations

import argparse
from pathlib import Path

from solo.checkpoints.published import find_model
from solo.cli.options import add_config_options, add_offline_option, set_offline
from solo.cli.result_options import add_overwrite_option
from solo.errors import UserError, printable
from solo.export.exporting import export_model
from solo.export.options import FORMATS, OPSETS, ExportOptions
from solo.runtime.metadata import CONTRACTS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options keep the spelling of other exporters where they have them."""
    parser.add_argument("config", help="config file; or, alone, a model that comes with solo or a published folder")
    parser.add_argument("checkpoint", nargs="?", help="checkpoint file")
    parser.add_argument("--format", default="onnx", help=f"{', '.join(FORMATS)} (default: %(default)s)")
    parser.add_argument(
        "--contract",
        default="detections",
        help=f"{' or '.join(CONTRACTS)}: final detections, or the network's outputs (default: %(default)s)",
    )
    parser.add_argument(
        "--imgsz",
        nargs=2,
        type=int,
        metavar=("H", "W"),
        help="fix the input size, multiples of 32; images are resized to fit it (default: any size)",
    )
    parser.add_argument(
        "--dynamic", action="store_true", help="with --imgsz: take any size, but resize images to fit it"
    )
    parser.add_argument("--batch", type=int, metavar="B", help="fix the number of images (default: any number)")
    parser.add_argument("--half", action="store_true", help="float16 convolutions")
    parser.add_argument("--int8", action="store_true", help="int8 convolutions, calibrated on --data")
    parser.add_argument("--data", type=Path, metavar="DIR", help="images for --int8 and for the verification")
    parser.add_argument("--opset", type=int, help=f"of ONNX, {OPSETS[0]} to {OPSETS[-1]} (default: {OPSETS[0]})")
    parser.add_argument("--simplify", action="store_true", help="simplify the ONNX graph with onnxslim")
    parser.add_argument("--verify", action="store_true", default=True, help="compare the file with the model (default)")
    parser.add_argument("--no-verify", dest="verify", action="store_false", help="do not")
    parser.add_argument(
        "--weights-licence", default="", metavar="TEXT", help="licence of the weights, for the metadata"
    )
    parser.add_argument("--out", metavar="PATH", help="the file, or OpenVINO's folder (default: beside the checkpoint)")
    add_overwrite_option(parser)
    add_offline_option(parser)
    add_config_options(parser)


def run(arguments: argparse.Namespace) -> None:
    """Export and print where the file is.

    Raises:
        UserError: a model is given without a checkpoint and without the file to write.
    """
    set_offline(arguments)
    if arguments.checkpoint is None:
        if arguments.out is None:
            raise UserError(f"{printable(arguments.config)} without a checkpoint: expected --out, the file to write")
        arguments.config, arguments.checkpoint = map(str, find_model(arguments.config))
    options = ExportOptions(
        format=arguments.format,
        contract=arguments.contract,
        size=arguments.imgsz and (arguments.imgsz[0], arguments.imgsz[1]),
        dynamic=arguments.dynamic,
        batch=arguments.batch,
        half=arguments.half,
        int8=arguments.int8,
        data=arguments.data,
        opset=arguments.opset,
        simplify=arguments.simplify,
        verify=arguments.verify,
        weights_licence=arguments.weights_licence,
    )
    path = export_model(
        arguments.config,
        arguments.checkpoint,
        options=options,
        out=arguments.out,
        overwrite=arguments.overwrite,
        overrides=arguments.cfg_options,
    )
    print(f"exported to {printable(str(path))}" + (", which agrees with the model" if options.verify else ""))
