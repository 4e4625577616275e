"""`solo predict --ray`: its options, and the run."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from solo.cli.predicting import exit_on_signal
from solo.cli.progress import ProgressLine
from solo.cli.result_options import not_negative, positive
from solo.errors import ConfigError, printable
from solo.inference.distributed.cluster import LOCAL, RayOptions
from solo.inference.distributed.locations import find_locations
from solo.inference.distributed.predict import Summary, Work, model_digest, predict_on_ray

SHARD_SIZE = 256
_SHOWN_PROBLEMS = 100
_OF_OTHER_RESULTS = (
    *("track", "save_txt", "save_masks", "save_coco", "save_labelme", "save_crops", "save_video"),
    *("show", "polygons", "simplify", "overwrite"),
)


def add_ray_options(parser: argparse.ArgumentParser) -> None:
    """Add `--ray` and the options that go with it."""
    group = parser.add_argument_group(
        "many images, on a Ray cluster (pip install 'solov2[ray]')",
        "Images alone, also URLs that fsspec opens. Shards of RLEs go to --out-dir; a run that ended early goes on "
        "when it is started again.",
    )
    group.add_argument(
        "--ray",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="local, auto (the cluster of this machine) or HOST:PORT; without ADDRESS that of RAY_ADDRESS, or local",
    )
    group.add_argument("--ray-actors", type=positive, help="models at once (default: as many as there is room for)")
    group.add_argument("--ray-cpus", type=positive, help="CPUs of each (default: 1)")
    group.add_argument(
        "--ray-gpus", type=not_negative, help="GPUs of each, such as 0.5 (default: 1 where there are GPUs, else 0)"
    )
    group.add_argument("--ray-shard", type=positive, help=f"images of a parquet file (default: {SHARD_SIZE})")


def check_ray_options(arguments: argparse.Namespace) -> None:
    """Check that options that go together are given together.

    Raises:
        ConfigError: they are not.
    """
    given = [
        name for name in ("ray_actors", "ray_cpus", "ray_gpus", "ray_shard") if getattr(arguments, name) is not None
    ]
    if arguments.ray is None:
        if given:
            raise ConfigError(f"{_spelled(given[0])} belongs to --ray, which is not given")
        return
    for name in _OF_OTHER_RESULTS:
        if getattr(arguments, name):
            raise ConfigError(
                f"{_spelled(name)} and --ray do not go together: with --ray the results are parquet shards"
            )
    if arguments.vid_stride != 1:
        raise ConfigError("--vid-stride and --ray do not go together: with --ray images alone are predicted")
    if arguments.device == "cpu" and arguments.ray_gpus:
        raise ConfigError(f"--device cpu and --ray-gpus {arguments.ray_gpus:g} contradict each other")


def predict_images_on_ray(
    arguments: argparse.Namespace,
    *,
    open_model: Callable[[str], tuple[Any, Sequence[Path | str]]],
    files: Sequence[Path | str],
    settings: Mapping[str, object],
) -> int:
    """Predict and print a summary; the exit code is 1 if no image could be predicted, 143 after SIGTERM.

    Args:
        arguments: with those of `solo predict`.
        open_model: gives the predictor on a device, and the files that it was read from; it can be pickled.
        files: the same files.
        settings: what the results depend on besides.
    """
    signal.signal(signal.SIGTERM, exit_on_signal)
    locations = find_locations(arguments.inputs)
    is_url = "://" in arguments.out_dir
    work = Work(
        open_model=open_model,
        device=arguments.device,
        model=model_digest(files),
        folder=arguments.out_dir if is_url else os.path.abspath(os.path.expanduser(arguments.out_dir)),
        score_thr=arguments.score_thr,
        batch_size=arguments.batch_size,
    )
    options = RayOptions(
        address=arguments.ray or os.environ.get("RAY_ADDRESS") or LOCAL,
        actors=arguments.ray_actors,
        cpus=arguments.ray_cpus or 1,
        gpus=arguments.ray_gpus,
    )
    progress = ProgressLine(len(locations))
    try:
        summary = predict_on_ray(
            locations,
            work=work,
            options=options,
            shard_size=arguments.ray_shard or SHARD_SIZE,
            manifest=dict(model=work.model, score_thr=work.score_thr, **settings),
            on_images=progress.update,
        )
    finally:
        progress.close()
    _print_summary(summary, out_dir=arguments.out_dir)
    return 0 if summary.images else 1


def _print_summary(summary: Summary, *, out_dir: str) -> None:
    for problem in summary.unreadable[:_SHOWN_PROBLEMS]:
        print(f"skipped: {printable(problem)}", file=sys.stderr)
    if (more := len(summary.unreadable) - _SHOWN_PROBLEMS) > 0:
        print(f"skipped: {more} more, whose errors are in the shards", file=sys.stderr)
    new = summary.images + len(summary.unreadable) - summary.earlier
    rate = f", {new / summary.seconds:.1f} images/s" if new else ""
    print(
        f"{summary.images} images; {new} in this run: {summary.objects} objects, {summary.seconds:.1f} s{rate}; shards "
        f"are in {printable(out_dir)}"
        + (f"; {summary.earlier} were done before" if summary.earlier else "")
        + (f"; {len(summary.unreadable)} could not be read" if summary.unreadable else "")
    )


def _spelled(name: str) -> str:
    return f"--{name.replace('_', '-')}"
