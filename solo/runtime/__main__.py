"""Predict image files with an exported model, without torch; write visualisations and predictions.json."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from solo.cli.predicting import add_prediction_options, predict_images
from solo.cli.running import run_command
from solo.cli.tile_options import add_tile_options, parse_tiles
from solo.inference.predictor import SOLOPredictor
from solo.runtime.sessions import PRECISIONS, RuntimeOptions, model_files


def main() -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m solo.runtime", description=__doc__)
    parser.add_argument("model", metavar="MODEL", help="*.onnx, folder of an OpenVINO model; with torch *.pt2")
    add_prediction_options(parser)
    parser.add_argument("--device", help="cpu, cuda:N (ONNX Runtime), gpu or npu (OpenVINO) (default: the runtime's)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: the runtime's choice)")
    parser.add_argument("--precision", choices=PRECISIONS, help="of OpenVINO (default: float32; int8: the CPU's own)")
    add_tile_options(parser)
    arguments = parser.parse_args()
    options = RuntimeOptions(threads=arguments.threads, precision=arguments.precision)

    def open_predictor() -> tuple[SOLOPredictor, list[Path]]:
        predictor = SOLOPredictor(
            arguments.model, device=arguments.device, deployment=options, **parse_tiles(arguments)
        )
        return predictor, model_files(arguments.model)

    return predict_images(arguments, open_predictor)


if __name__ == "__main__":
    sys.exit(run_command(main))
