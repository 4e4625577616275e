"""Measure ours, alone or in turns with a peer."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from torch.distributed import is_torchelastic_launched

sys.path.insert(0, str(Path(__file__).parents[1]))  # for `benchmarks`, which is not installed

from benchmarks.clock import CLOCKS, clock
from benchmarks.evaluation import benchmark_evaluation
from benchmarks.inference import benchmark_inference
from benchmarks.loading import benchmark_data
from benchmarks.pairs import Row
from benchmarks.report import as_table, write_json
from benchmarks.training import benchmark_training
from solo.command_line import (
    add_config_options,
    add_deployment_options,
    add_launcher_options,
    parse_deployment,
    run_command,
    set_local_rank,
)
from solo.engine.malloc import keep_freed_memory
from solo.engine.throughput import throughput_line


def parse_arguments() -> argparse.Namespace:
    """One subcommand for what is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="measure", required=True)
    train = commands.add_parser("train", help="operations, bytes, times and memory of a training step")
    _add_common(train)
    train.add_argument("--batch-size", type=int, help="images a step of a process (default: the config's)")
    train.add_argument("--images", type=int, default=30, help="images of targets and sample_pipeline (default: 30)")
    train.add_argument("--amp", action="store_true", help="mixed precision")
    train.add_argument("--peer-fp32", action="store_true", help="with --amp: ours alone, the peer stays in float32")
    train.add_argument("--channels-last", action="store_true", help="our network keeps channels innermost in memory")
    train.add_argument("--compile", action="store_true", help="torch.compile for the network; without --against")
    train.add_argument("--device", help="cpu, cuda or cuda:N (default: the GPU where there is one)")
    add_launcher_options(train)
    infer = commands.add_parser("infer", help="times of a prediction, from outputs and from files, by stage; memory")
    _add_common(infer)
    _add_prediction(infer, deploy="auto")
    infer.add_argument("--batch-size", type=int, default=1, help="images a turn (default: 1)")
    infer.add_argument("--images", type=int, default=4, help="images that take turns (default: 4)")
    evaluate = commands.add_parser("evaluate", help="times of AP over many results, and of a whole validation loop")
    _add_common(evaluate, iters=3, warmup=0)
    _add_prediction(evaluate, deploy="none")
    evaluate.add_argument("--batch-size", type=int, help="images a batch (default: the config's)")
    evaluate.add_argument("--images", type=int, help="only the first so many images (default: all)")
    evaluate.add_argument("--result-images", type=int, default=5000, help="images of cocoeval (default: 5000)")
    data = commands.add_parser("data", help="times of samples by transform, bytes, images/s by number of workers")
    _add_common(data)
    data.add_argument("--split", choices=["train", "val"], default="train", help="whose loader (default: train)")
    data.add_argument("--batch-size", type=int, help="images a batch of the loaders (default: the config's)")
    data.add_argument("--images", type=int, default=30, help="images of sample and transform (default: 30)")
    data.add_argument("--workers", type=int, nargs="+", help="numbers of workers (default: 0, 1, 2, 4, ... cores)")
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
    parser.add_argument(
        "--synthetic", dest="data", action="store_const", const="drawn", help="the same as --data drawn"
    )
    parser.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="cpu: the computing time of this process, for a busy machine; loaders keep the wall clock (default: wall)",
    )
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="measure only these rows (default: all)")
    parser.add_argument("--json", metavar="FILE", help="write the rows there too")
    add_config_options(parser)


def _add_prediction(parser: argparse.ArgumentParser, *, deploy: str) -> None:
    parser.add_argument("--checkpoint", metavar="FILE", help="weights (default: drawn, with drawn network outputs)")
    parser.add_argument("--device", help="cpu, cuda or cuda:N (default: the GPU where there is one)")
    # The defaults are those of tools/predict.py and tools/test.py.
    add_deployment_options(parser, default=deploy)


def _launcher(arguments: argparse.Namespace) -> str:
    """The one asked for; that of torchrun, where it has started this process, need not be."""
    if arguments.launcher == "none" and is_torchelastic_launched():
        return "pytorch"
    return str(arguments.launcher)


def main() -> None:
    """Parse, measure, print."""
    arguments = parse_arguments()
    if not arguments.against:  # a peer in the same process would gain by it, which it does not where it runs alone
        keep_freed_memory()
    with clock(arguments.clock):
        _report(_measure(arguments), arguments)


def _measure(arguments: argparse.Namespace) -> list[Row]:
    common: dict[str, Any] = dict(
        against=arguments.against,
        pairs=arguments.iters,
        warmup=arguments.warmup,
        data=arguments.data,
        rows=arguments.rows,
        overrides=arguments.cfg_options,
    )
    common.update(batch_size=arguments.batch_size, images=arguments.images)
    if arguments.measure == "data":
        return benchmark_data(arguments.config, split=arguments.split, workers=arguments.workers, **common)
    if arguments.measure == "train":
        set_local_rank(arguments)
        own = {name: getattr(arguments, name) for name in ("amp", "channels_last", "compile", "device")}
        own.update(peer_amp=not arguments.peer_fp32)
        return benchmark_training(arguments.config, launcher=_launcher(arguments), **own, **common)
    common.update(checkpoint=arguments.checkpoint, device=arguments.device)
    common.update(deployment=parse_deployment(arguments.deploy))
    if arguments.measure == "infer":
        return benchmark_inference(arguments.config, **common)
    return benchmark_evaluation(arguments.config, result_images=arguments.result_images, **common)


def _report(rows: list[Row], arguments: argparse.Namespace) -> None:
    if int(os.environ.get("RANK", 0)) > 0:
        return
    print(as_table(rows))
    line = throughput_line(rows, processes=int(os.environ.get("WORLD_SIZE", 1)))
    if line is not None:
        print(line)
    if arguments.json:
        write_json(rows, arguments.json)


if __name__ == "__main__":
    sys.exit(run_command(main, keep_memory=False))
