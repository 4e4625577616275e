"""Print what the scaling model says: of published trainings, of a config on many GPUs, of two processes here."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # for `benchmarks`, which is not installed

from benchmarks.scaling_cases import DEVICES, FAST_NETWORK, PUBLISHED, reproduce, step_at_peak
from benchmarks.scaling_model import Link, Machines, Step, predict
from benchmarks.two_processes import compare_with_two_processes
from solo.command_line import run_command
from solo.config import load_config
from solo.errors import UserError

CONFIGS = Path(__file__).parents[1] / "configs"


def parse_arguments() -> argparse.Namespace:
    """One subcommand for what is asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="question", required=True)
    commands.add_parser("published", help="published trainings, each predicted from the others")
    many = commands.add_parser("predict", help="images/s and efficiency of a config on many GPUs")
    many.add_argument("config", help="config file")
    many.add_argument("--device", choices=DEVICES, default="h200")
    many.add_argument("--gpus", nargs="+", type=int, default=[1, 8, 64, 512])
    many.add_argument("--images", type=int, default=2, help="of a GPU (default: 2)")
    speed = many.add_mutually_exclusive_group(required=True)
    speed.add_argument("--share", type=float, help="of the device's peak that is achieved")
    speed.add_argument("--step-seconds", nargs="+", type=float, help="measured times of steps of one GPU instead")
    many.add_argument("--network", type=float, metavar="GB/S", help="of a machine's adapters together (default: 400)")
    many.add_argument("--bytes-a-gradient", type=int, choices=[2, 4], default=4)
    many.add_argument("--loader-seconds", type=float, default=0.0, help="of work that a sample takes in the loader")
    many.add_argument("--workers", type=int, default=2, help="loader processes of a GPU (default: 2)")
    check = commands.add_parser("check", help="the model against two processes on this machine")
    check.add_argument("--rounds", type=int, default=20, help="turns of each of the timed parts (default: 20)")
    return parser.parse_args()


def main() -> None:
    """Parse, compute, print."""
    arguments = parse_arguments()
    if arguments.question == "published":
        print_published()
    elif arguments.question == "predict":
        try:
            print_predictions(arguments)
        except ValueError as error:
            raise UserError(str(error)) from error
    else:
        print(compare_with_two_processes(CONFIGS / "shapes/solov2-nano_shapes.py", rounds=arguments.rounds))


def print_published() -> None:
    """A line for each published training."""
    configs = [load_config(CONFIGS / training.config) for training in PUBLISHED]
    print(f"{'':24}{'images/s':>10}{'share':>8}{'used':>8}{'predicted':>11}{'error':>8}{'hours':>8}{'predicted':>11}")
    for row in reproduce(PUBLISHED, configs):
        training, rate = row.training, row.prediction.images_per_second
        hours = ("", "") if training.hours is None else (training.hours, f"{training.images / rate / 3600:.1f}")
        print(
            f"{training.name:24}{training.images_per_second:>10.1f}{row.share:>8.3f}{row.used_share:>8.3f}{rate:>11.1f}"
            f"{row.error:>+8.0%}{hours[0]:>8}{hours[1]:>11}"
        )


def print_predictions(arguments: argparse.Namespace) -> None:
    """A line for each number of GPUs."""
    device, step = DEVICES[arguments.device], described_step(arguments)
    between = FAST_NETWORK
    if arguments.network:
        between = Link(bytes_per_second=arguments.network * 1e9, latency=FAST_NETWORK.latency)
    print(f"{'GPUs':>6}{'images/s':>12}{'efficiency':>12}{'step ms':>10}{'slowest':>9}{'exposed':>9}{'read MB/s':>11}")
    for gpus in arguments.gpus:
        found = predict(step, Machines(gpus=gpus, inside=device.inside, between=between))
        print(
            f"{gpus:>6}{found.images_per_second:>12,.0f}{found.efficiency:>12.3f}{found.step_seconds * 1e3:>10.1f}"
            f"{found.slowest_seconds * 1e3:>9.1f}{found.exposed_seconds * 1e3:>9.1f}"
            f"{found.storage_bytes_per_second / 1e6:>11,.0f}{'  waits for the loader' if found.loader_bound else ''}"
        )


def described_step(arguments: argparse.Namespace) -> Step:
    """The step of one GPU, measured or at a share of the peak."""
    if arguments.share is not None and not 0 < arguments.share <= 1:
        raise UserError(f"--share must be in (0, 1]; came {arguments.share}")
    ideal = step_at_peak(
        load_config(arguments.config),
        DEVICES[arguments.device],
        images=arguments.images,
        bytes_a_gradient=arguments.bytes_a_gradient,
    )
    return Step(
        images=ideal.images,
        seconds=tuple(arguments.step_seconds or ideal.scaled(1 / arguments.share).seconds),
        draws=1 if arguments.step_seconds else ideal.draws,
        gradient_bytes=ideal.gradient_bytes,
        sample_bytes=ideal.sample_bytes,
        loader_seconds=arguments.loader_seconds,
        workers=arguments.workers,
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
