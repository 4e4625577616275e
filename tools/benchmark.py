"""Measure ours, alone or in turns with a peer."""

from __future__ import annotations

import argparse
import sys

from solo.benchmark.report import as_table, write_json
from solo.benchmark.training import benchmark_training
from solo.command_line import add_config_options, run_command


def parse_arguments() -> argparse.Namespace:
    """One subcommand for what is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="measure", required=True)
    train = commands.add_parser("train", help="operations, bytes, times and memory of a training step")
    train.add_argument("config", help="config file")
    train.add_argument("--against", choices=["mmdet"], help="the peer, which must be installed")
    train.add_argument("--iters", type=int, default=9, help="pairs of timed turns (default: 9)")
    train.add_argument("--warmup", type=int, default=1, help="turns before those (default: 1)")
    train.add_argument("--batch-size", type=int, help="images a step (default: the config's)")
    train.add_argument(
        "--data",
        metavar="DIR|drawn|crowded:N",
        help="a data set in COCO's layout, or pictures drawn for the measurement, with N objects each (default: the "
        "config's data)",
    )
    train.add_argument("--rows", nargs="+", metavar="NAME", help="measure only these rows (default: all)")
    train.add_argument("--json", metavar="FILE", help="write the rows there too")
    add_config_options(train)
    return parser.parse_args()


def main() -> None:
    """Parse, measure, print."""
    arguments = parse_arguments()
    rows = benchmark_training(
        arguments.config,
        against=arguments.against,
        pairs=arguments.iters,
        warmup=arguments.warmup,
        data=arguments.data,
        batch_size=arguments.batch_size,
        rows=arguments.rows,
        overrides=arguments.cfg_options,
    )
    print(as_table(rows))
    if arguments.json:
        write_json(rows, arguments.json)


if __name__ == "__main__":
    sys.exit(run_command(main))
