"""Measure training, prediction, evaluation or data of a config, alone or interleaved with mmdetection's."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch.distributed import is_torchelastic_launched

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
from solo.config import load_config
from solo.engine.malloc import keep_freed_memory
from solo.engine.throughput import measure_throughput, set_training_options, throughput_line
from solo.errors import UserError
from solo.runtime.sessions import is_exported


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One parser per subject of the measurement."""
    commands = parser.add_subparsers(dest="measure", required=True)
    train = commands.add_parser("train", help="operations, bytes, times and memory of a training step")
    _add_common(train)
    train.add_argument("--batch-size", type=int, help="images per step and process (default: the config's)")
    train.add_argument("--images", type=int, default=30, help="images of targets and sample_pipeline (default: 30)")
    train.add_argument("--amp", action="store_true", help="mixed precision")
    train.add_argument("--peer-fp32", action="store_true", help="with --amp: ours alone, mmdet stays in float32")
    train.add_argument("--channels-last", action="store_true", help="channels-last memory layout of our network")
    train.add_argument("--compile", action="store_true", help="torch.compile for our network; without --against")
    train.add_argument("--device", help="cpu, cuda or cuda:N (default: the GPU if there is one)")
    add_launcher_options(train)
    infer = commands.add_parser("infer", help="times of a prediction, from outputs and from files, by stage; memory")
    _add_common(infer)
    _add_prediction(infer, deploy="auto")
    infer.add_argument("--batch-size", type=int, default=1, help="images per prediction (default: 1)")
    infer.add_argument("--images", type=int, default=4, help="different images (default: 4)")
    infer.add_argument(
        "--exported",
        nargs="+",
        metavar="FILE",
        help="time these exported files, beside mmdet or the checkpoint, from image files to RLEs; FILE@bfloat16 runs "
        "one of OpenVINO in bfloat16",
    )
    infer.add_argument(
        "--beside",
        nargs="+",
        metavar="CONFIG",
        help="time these configs with random weights, each beside the first, from image files to bitmaps",
    )
    evaluate = commands.add_parser("evaluate", help="times of AP over many results, and of a whole validation loop")
    _add_common(evaluate, iters=3, warmup=0)
    _add_prediction(evaluate, deploy="none")
    evaluate.add_argument("--batch-size", type=int, help="images per batch (default: the config's)")
    evaluate.add_argument("--images", type=int, help="number of images, the first ones (default: all)")
    evaluate.add_argument("--result-images", type=int, default=5000, help="images of cocoeval (default: 5000)")
    data = commands.add_parser("data", help="times of samples by transform, bytes, images/s by number of workers")
    _add_common(data)
    data.add_argument("--split", choices=["train", "val"], default="train", help="split of the loader (default: train)")
    data.add_argument("--batch-size", type=int, help="images per batch of the loaders (default: the config's)")
    data.add_argument("--images", type=int, default=30, help="images of sample and transform (default: 30)")
    data.add_argument("--workers", type=int, nargs="+", help="numbers of workers (default: 0, 1, 2, 4, ... cores)")


def _add_common(parser: argparse.ArgumentParser, *, iters: int = 9, warmup: int = 1) -> None:
    parser.add_argument("config", help="config file")
    parser.add_argument("--against", choices=["mmdet"], help="reference implementation to compare with, if installed")
    parser.add_argument("--iters", type=int, default=iters, help=f"timed repetitions (default: {iters})")
    parser.add_argument("--warmup", type=int, default=warmup, help=f"repetitions before those (default: {warmup})")
    parser.add_argument(
        "--data",
        metavar="DIR|drawn|crowded:N",
        help="a data set in COCO's layout, or generated images: shapes, or N objects each (default: the config's data)",
    )
    parser.add_argument("--synthetic", dest="data", action="store_const", const="drawn", help="same as --data drawn")
    parser.add_argument(
        "--clock",
        choices=["wall", "cpu"],
        default="wall",
        help="cpu: the CPU time of this process, for a busy machine; loaders keep the wall clock (default: wall)",
    )
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="measure only these rows (default: all)")
    parser.add_argument("--json", metavar="FILE", help="write the rows to this file too")
    add_config_options(parser)


def _add_prediction(parser: argparse.ArgumentParser, *, deploy: str) -> None:
    parser.add_argument("--checkpoint", metavar="FILE", help="weights (default: random, with generated outputs)")
    add_offline_option(parser)
    parser.add_argument("--device", help="cpu, cuda or cuda:N (default: the GPU if there is one)")
    # The defaults are those of `solo predict` and `solo test`.
    add_deployment_options(parser, default=deploy)


def run(arguments: argparse.Namespace) -> None:
    """Measure and print."""
    if arguments.measure in ("infer", "evaluate"):
        set_offline(arguments)
    if not arguments.against:  # mmdet in the same process would gain by it, unlike mmdet in a process of its own
        keep_freed_memory()
    if arguments.measure == "train":
        set_local_rank(arguments)
        if arguments.launcher == "none" and is_torchelastic_launched():
            arguments.launcher = "pytorch"
    clone = find_clone()
    if clone is None:
        _print_throughput(arguments)
    else:
        sys.path.insert(0, str(clone))  # benchmarks/ is not installed
        _print_rows(arguments)


def find_clone() -> Path | None:
    """The clone that this module belongs to; None where solo is installed from a wheel, without benchmarks/."""
    root = Path(__file__).resolve().parents[2]
    return root if (root / "benchmarks" / "mmdet_reference.py").is_file() else None


def _print_throughput(arguments: argparse.Namespace) -> None:
    """Print the images/s of our training, which is all that the installed package measures.

    Raises:
        UserError: another measurement is asked for.
    """
    if arguments.measure != "train" or arguments.rows != ["throughput"]:
        raise UserError("this measurement needs benchmarks/, so a clone; without it: train CONFIG --rows throughput")
    for option in ("against", "data", "json", "peer_fp32"):
        if getattr(arguments, option):
            raise UserError(f"--{option.replace('_', '-')} needs benchmarks/, so a clone of the repository")
    for name, value, least in (("iters", arguments.iters, 1), ("warmup", arguments.warmup, 0)):
        if value < least:
            raise UserError(f"--{name} must be at least {least}, got {value}")
    config = load_config(arguments.config, overrides=arguments.cfg_options)
    options = {name: getattr(arguments, name) for name in ("amp", "channels_last", "compile")}
    set_training_options(config, **options)
    found = measure_throughput(
        config,
        batch_size=arguments.batch_size,
        steps=arguments.iters,
        warmup=arguments.warmup,
        device=arguments.device,
        launcher=arguments.launcher,
    )
    if int(os.environ.get("RANK", 0)) == 0:
        print(found)


def _print_rows(arguments: argparse.Namespace) -> None:
    # mmdet's convolutions on a GPU would be rounded to ten bits, ours in the decoder not: masks could not be compared.
    torch.backends.cudnn.allow_tf32 = False
    from benchmarks.rows import format_table, write_json
    from benchmarks.timing import use_clock

    with use_clock(arguments.clock):
        rows = _measure_rows(arguments)
        if int(os.environ.get("RANK", 0)) > 0:
            return
        print(format_table(rows, peer=_peer(arguments)))
        for row in rows:
            if row.name.startswith("images_per_second_train"):
                print(throughput_line(row.ours, processes=int(os.environ.get("WORLD_SIZE", 1))))
        if arguments.json:
            write_json(rows, arguments.json)


def _peer(arguments: argparse.Namespace) -> str:
    """What the rows are compared with: exported files with mmdet or the checkpoint that they were made from."""
    if getattr(arguments, "beside", None):
        return Path(arguments.config).stem
    return "checkpoint" if getattr(arguments, "exported", None) and not arguments.against else "mmdet"


def _measure_rows(arguments: argparse.Namespace) -> list[Any]:
    common: dict[str, Any] = dict(
        against=arguments.against,
        repetitions=arguments.iters,
        warmup=arguments.warmup,
        data=arguments.data,
        rows=arguments.rows,
        overrides=arguments.cfg_options,
        batch_size=arguments.batch_size,
        images=arguments.images,
    )
    if arguments.measure == "data":
        from benchmarks.loading import benchmark_data

        return benchmark_data(arguments.config, split=arguments.split, workers=arguments.workers, **common)
    if arguments.measure == "train":
        from benchmarks.training import benchmark_training

        own = {name: getattr(arguments, name) for name in ("amp", "channels_last", "compile", "device", "launcher")}
        return benchmark_training(arguments.config, reference_amp=not arguments.peer_fp32, **own, **common)
    if arguments.measure == "infer" and arguments.beside:
        return _measure_configs(arguments, common)
    common.update(checkpoint=arguments.checkpoint, device=arguments.device)
    if arguments.measure == "infer" and (arguments.exported or is_exported(arguments.checkpoint)):
        return _measure_exported(arguments, common)
    common.update(deployment=parse_deployment(arguments.deploy))
    if arguments.measure == "infer":
        from benchmarks.inference import benchmark_inference

        return benchmark_inference(arguments.config, **common)
    from benchmarks.evaluation import benchmark_evaluation

    return benchmark_evaluation(arguments.config, result_images=arguments.result_images, **common)


def _measure_exported(arguments: argparse.Namespace, common: dict[str, Any]) -> list[Any]:
    """Measure exported files, given by `--exported` or in place of the checkpoint; `--deploy` is how they are run."""
    from benchmarks.exported import benchmark_exported

    files = arguments.exported or []
    if is_exported(arguments.checkpoint):
        files, common["checkpoint"] = [arguments.checkpoint, *files], None
    return benchmark_exported(arguments.config, files, options=parse_runtime_options(arguments.deploy), **common)


def _measure_configs(arguments: argparse.Namespace, common: dict[str, Any]) -> list[Any]:
    """Measure several configs, given by `--beside`.

    Raises:
        UserError: an option that is for one config alone.
    """
    from benchmarks.configs import benchmark_configs

    for option in ("against", "checkpoint", "exported"):
        if getattr(arguments, option):
            raise UserError(f"--beside times configs with random weights; it does not go with --{option}")
    common.pop("against")
    options = dict(device=arguments.device, deployment=parse_deployment(arguments.deploy), **common)
    return benchmark_configs(arguments.config, arguments.beside, **options)
