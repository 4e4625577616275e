"""Measure ours, alone or in turns with a peer."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from solo.benchmark.inference import benchmark_inference
from solo.benchmark.report import as_table, write_json
from solo.benchmark.training import benchmark_training
from solo.command_line import add_config_options, run_command


def parse_arguments() -> argparse.Namespace:
    """One subcommand for what is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="measure", required=True)
    train = commands.add_parser("train", help="operations, bytes, times and memory of a training step")
    _add_common(train)
    train.add_argument("--batch-size", type=int, help="images a step (default: the config's)")
    infer = commands.add_parser("infer", help="times of a prediction, from outputs and from files, by stage; memory")
    _add_common(infer)
    _add_prediction(infer)
    infer.add_argument("--batch-size", type=int, default=1, help="images a turn (default: 1)")
    infer.add_argument("--images", type=int, default=4, help="images that take turns (default: 4)")
    return parser.parse_args()


def _add_common(parser: argparse.ArgumentParser, *, iters: int = 9, warmup: int = 1) -> None:
    parser.add_argument("config", help="config file")
    parser.add_argument("--against", choices=["mmdet"], help="the peer, which must be installed")
    parser.add_argument("--iters", type=int, default=iters, help=f"pairs of timed turns (default: {iters})")
    parser.add_argument("--warmup", type=int, default=warmup, help=f"turns before those (default: {warmup})")
    parser.add_argument(
        "--data",
        metavar="DIR|drawn|crowded:N",
        help="a data set in COCO's layout, or pictures drawn for the measurement, with N objects each (default: the "
        "config's data)",
    )
    parser.add_argument("--synthetic", dest="data", action="store_const", const="drawn", help="the same as --data drawn")
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="measure only these rows (default: all)")
    parser.add_argument("--json", metavar="FILE", help="write the rows there too")
    add_config_options(parser)


def _add_prediction(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", metavar="FILE", help="weights (default: drawn, with drawn network outputs)")
    parser.add_argument("--device", help="cpu, cuda or cuda:N (default: the GPU where there is one)")


def main() -> None:
    """Parse, measure, print."""
    arguments = parse_arguments()
    common: dict[str, Any] = dict(
        against=arguments.against,
        pairs=arguments.iters,
        warmup=arguments.warmup,
        data=arguments.data,
        rows=arguments.rows,
        overrides=arguments.cfg_options,
    )
    if arguments.measure == "train":
        rows = benchmark_training(arguments.config, batch_size=arguments.batch_size, **common)
    else:
        prediction = dict(checkpoint=arguments.checkpoint, device=arguments.device)
        sizes = dict(batch_size=arguments.batch_size, images=arguments.images)
        rows = benchmark_inference(arguments.config, **prediction, **sizes, **common)
    print(as_table(rows))
    if arguments.json:
        write_json(rows, arguments.json)


if __name__ == "__main__":
    sys.exit(run_command(main))
