"""Images/s of data-parallel training on many GPUs, predicted from the step of one GPU (docs/scaling.md)."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.config import Config
from torch.utils.flop_counter import FlopCounterMode

from solo.checkpoints.fitting import model_on_meta
from solo.cli.running import run_command
from solo.config import load_config
from solo.engine.flops import default_size
from solo.errors import UserError

CONFIGS = Path(__file__).parents[1] / "configs"
BUCKET_BYTES, BACKWARD_SHARE = 25 * 2**20, 2 / 3  # torch's DistributedDataParallel; of a step
COCO_IMAGE_BYTES = 163_000  # mean JPEG of train2017
MMDET_TARGET_SECONDS = 0.2  # mmdet 3.3.0 for two COCO photos with eight objects each, on one core
GPUS_PER_MACHINE, ASPECT = 8, 4 / 3  # aspect of most COCO images
Link = tuple[float, float]  # bytes/s in one direction, latency in seconds


class Device(NamedTuple):
    """An accelerator."""

    peak: float  # FLOP/s in the precision of the training
    inside: Link  # to the other GPUs of its machine


V100, BI_V100 = Device(15.7e12, (150e9, 5e-6)), Device(37e12, (32e9, 10e-6))
DEVICES = {"v100": V100, "bi-v100": BI_V100, "h200": Device(989e12, (450e9, 5e-6))}
# All adapters of a machine: eight of 400 Gb/s, and one of 100 Gb/s.
FAST_NETWORK, SLOW_NETWORK = (400e9, 10e-6), (12.5e9, 30e-6)


class Step(NamedTuple):
    """A training step of one process."""

    images: int
    seconds: tuple[float, ...]  # equally likely times of forward, backward and update
    draws: int  # from `seconds` per step, the largest counts: `images` for times by size, 1 for measured times
    gradient_bytes: float  # summed over the processes
    host_seconds: float = 0.0  # per step, in which the device waits for the CPU

    def scaled(self, factor: float) -> Step:
        """The same step with its computation `factor` times as long."""
        return self._replace(seconds=tuple(seconds * factor for seconds in self.seconds))


def images_per_second(step: Step, *, gpus: int, inside: Link, between: Link) -> float:
    """Images/s of `gpus` GPUs in machines of eight."""
    computing = expected_slowest(step.seconds, step.draws * gpus) + step.host_seconds
    return gpus * step.images / (computing + exposed_seconds(step, gpus=gpus, inside=inside, between=between))


def expected_slowest(seconds: Sequence[float], draws: int) -> float:
    """Mean of the largest of `draws` independent draws from equally likely times."""
    shares = [rank / len(seconds) for rank in range(len(seconds) + 1)]
    return math.fsum(t * (shares[rank + 1] ** draws - shares[rank] ** draws) for rank, t in enumerate(sorted(seconds)))


def exposed_seconds(step: Step, *, gpus: int, inside: Link, between: Link) -> float:
    """Seconds of the all-reduce that remain after the backward pass, over which buckets become ready evenly."""
    buckets = max(1, math.ceil(step.gradient_bytes / BUCKET_BYTES))
    size, members = step.gradient_bytes / buckets, min(gpus, GPUS_PER_MACHINE)
    one = _ring_seconds(size, members, inside) + _ring_seconds(size, gpus // members, between)
    backward = BACKWARD_SHARE * expected_slowest(step.seconds, step.draws)
    return max(buckets * one - backward * (1 - 1 / buckets), one)


def _ring_seconds(size: float, members: int, link: Link) -> float:
    """All-reduce over a ring: 2 (n - 1) / n of the bytes (Patarasuk and Yuan 2009), latencies as in a tree."""
    return 2 * (members - 1) / members * size / link[0] + 2 * math.log2(members) * link[1]


def achieved_share(rate_at_share: Callable[[float], float], rate: float) -> float:
    """The share of peak at which a rising function reaches `rate`, by bisection in (0, 1]."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if rate_at_share(middle) < rate else (low, middle)
    return high


def step_at_peak(config: Config, device: Device, *, images: int, bytes_per_gradient: int = 4) -> Step:
    """The step of a config if every convolution and product ran at the device's peak."""
    model = model_on_meta(config)
    times = [images * count_training_flops(model, size) / device.peak for size in training_sizes(config)]
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return Step(images, tuple(times), draws=images, gradient_bytes=trained * bytes_per_gradient)


def count_training_flops(model: torch.nn.Module, size: tuple[int, int]) -> int:
    """FLOP of the network's forward and backward pass for one image of (H, W); frozen parts have no backward pass."""
    if getattr(model, "mask_feature", None) is None:
        raise UserError("FLOP of a training are counted for SOLOv2 only: this model has no mask_feature")
    counter = FlopCounterMode(display=False)
    with counter, torch.device("meta"):
        outputs = model.train()(torch.empty(1, 3, *size))
        torch.stack([part.sum() for part in outputs]).sum().backward()
    model.zero_grad()
    return counter.get_total_flops()


def training_sizes(config: Config) -> list[tuple[int, int]]:
    """Padded (H, W) of a 4:3 image at each scale of the training pipeline; without a resize the size of its tests."""
    resizes = [step for step in config.train_pipeline if "scale" in step or "scales" in step]
    if not resizes:
        return [default_size(config)]
    scales = resizes[0].get("scales") or [resizes[0]["scale"]]
    heights = [min(min(scale), max(scale) / ASPECT) for scale in scales]
    sizes = [(32 * math.ceil(round(h) / 32), 32 * math.ceil(round(h * ASPECT) / 32)) for h in heights]
    common = sorted(map(tuple, config.model.data_preprocessor.get("padded_sizes") or ()), key=math.prod)
    return [next((size for size in common if size[0] >= h and size[1] >= w), (h, w)) for h, w in sizes]


class Published(NamedTuple):
    """A published training on 8 GPUs with 2 images each, in images/s, and our config of the same model."""

    name: str
    config: str
    device: Device
    rate: float
    host_seconds: float = 0.0


PUBLISHED = (
    Published("AdelaiDet R50 3x", "solov2_adelaidet/solov2_r50_fpn_ms-3x_coco.py", V100, 270_000 * 16 / (25 * 3600)),
    Published("AdelaiDet R101 3x", "solov2_adelaidet/solov2_r101_fpn_ms-3x_coco.py", V100, 270_000 * 16 / (30 * 3600)),
    Published("PaddleDetection R50 1x", "solov2_paddle/solov2_r50_fpn_1x_coco.py", V100, 12 * 117_266 / (10 * 3600)),
    Published("DeepSpark R50 1x", "solov2/solov2_r50_fpn_1x_coco.py", BI_V100, 21.26),
    Published("the same, host counted", "solov2/solov2_r50_fpn_1x_coco.py", BI_V100, 21.26, MMDET_TARGET_SECONDS),
)


def published_rows() -> list[tuple[str, float, float, float, float]]:
    """Name, images/s, implied share of peak, mean share of the others on V100, and images/s predicted with that."""
    ideals = [step_at_peak(load_config(CONFIGS / t.config), t.device, images=2) for t in PUBLISHED]
    rates = [partial(_rate_at_share, training, ideal) for training, ideal in zip(PUBLISHED, ideals, strict=True)]
    shares = [achieved_share(rate, training.rate) for rate, training in zip(rates, PUBLISHED, strict=True)]
    rows = []
    for index, (training, rate) in enumerate(zip(PUBLISHED, rates, strict=True)):
        others = [s for i, (s, t) in enumerate(zip(shares, PUBLISHED, strict=True)) if i != index and t.device is V100]
        used = sum(others) / len(others)
        rows.append((training.name, training.rate, shares[index], used, rate(used)))
    return rows


def _rate_at_share(training: Published, ideal: Step, share: float) -> float:
    step = ideal.scaled(1 / share)._replace(host_seconds=training.host_seconds)
    return images_per_second(step, gpus=8, inside=training.device.inside, between=SLOW_NETWORK)


def main() -> None:
    """Print published trainings beside their predictions, or the prediction of a config."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("published", help="published trainings, each predicted from the others")
    many = commands.add_parser("predict", help="images/s and efficiency of a config on many GPUs")
    many.add_argument("config", help="config file")
    many.add_argument("--device", choices=DEVICES, default="h200")
    many.add_argument("--gpus", nargs="+", type=int, choices=[2**n for n in range(14)], default=[1, 8, 64, 512])
    many.add_argument("--images", type=int, default=2, help="images per GPU (default: 2)")
    speed = many.add_mutually_exclusive_group(required=True)
    speed.add_argument("--share", type=float, help="achieved share of the device's peak")
    speed.add_argument("--step-seconds", nargs="+", type=float, help="measured step times of one GPU instead")
    many.add_argument("--network", type=float, default=400, metavar="GB/S", help="of a machine (default: 400)")
    many.add_argument("--bytes-per-gradient", type=int, choices=[2, 4], default=4)
    arguments = parser.parse_args()
    if arguments.command == "predict":
        return print_predictions(arguments)
    print(f"{'':24}{'images/s':>10}{'share':>8}{'used':>8}{'predicted':>11}{'error':>8}")
    for name, rate, share, used, predicted in published_rows():
        print(f"{name:24}{rate:>10.1f}{share:>8.3f}{used:>8.3f}{predicted:>11.1f}{predicted / rate - 1:>+8.0%}")


def print_predictions(arguments: argparse.Namespace) -> None:
    """Print a line for each number of GPUs."""
    device, times = DEVICES[arguments.device], arguments.step_seconds
    config, options = load_config(arguments.config), dict(bytes_per_gradient=arguments.bytes_per_gradient)
    step = step_at_peak(config, device, images=arguments.images, **options)
    step = step._replace(seconds=tuple(times), draws=1) if times else step.scaled(1 / arguments.share)
    links = dict(inside=device.inside, between=(arguments.network * 1e9, FAST_NETWORK[1]))
    alone = images_per_second(step, gpus=1, **links)
    print(f"{'GPUs':>6}{'images/s':>12}{'efficiency':>12}{'read MB/s':>11}")
    for gpus in arguments.gpus:
        rate = images_per_second(step, gpus=gpus, **links)
        print(f"{gpus:>6}{rate:>12,.0f}{rate / (gpus * alone):>12.3f}{rate * COCO_IMAGE_BYTES / 1e6:>11,.0f}")


if __name__ == "__main__":
    sys.exit(run_command(main))
