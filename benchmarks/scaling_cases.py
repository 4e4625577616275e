"""Devices, published trainings and configs, as steps of the scaling model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mmengine.config import Config

from benchmarks.scaling_model import Link, Machines, Prediction, Step, achieved_share, predict
from solo.checkpoints.fitting import model_on_meta
from solo.engine.flops import count_training_flops, default_size

COCO_IMAGES = 117_266
"""Images of train2017 with an object."""
COCO_IMAGE_BYTES = 163_000
"""The mean JPEG of train2017."""
MMDET_TARGET_SECONDS = 0.2
"""That mmdetection 3.3.0 needs to assign the targets of two COCO photos with eight objects each, on one core."""
ASPECT = 4 / 3
"""Of most of COCO's images; both orientations cost the same."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """An accelerator as its maker states it.

    Args:
        name: of it.
        peak: operations a second in the precision of the training.
        inside: the link to the other GPUs of the machine, one direction.
    """

    name: str
    peak: float
    inside: Link


V100 = Device(name="V100, float32", peak=15.7e12, inside=Link(bytes_per_second=150e9, latency=5e-6))
BI_V100 = Device(name="BI-V100, float32", peak=37e12, inside=Link(bytes_per_second=32e9, latency=10e-6))
H200 = Device(name="H200, bfloat16", peak=989e12, inside=Link(bytes_per_second=450e9, latency=5e-6))
DEVICES = {"v100": V100, "bi-v100": BI_V100, "h200": H200}
# A machine's adapters together, one direction: eight of 400 Gb/s, and one of 100 Gb/s.
FAST_NETWORK = Link(bytes_per_second=400e9, latency=10e-6)
SLOW_NETWORK = Link(bytes_per_second=12.5e9, latency=30e-6)


@dataclass(frozen=True, kw_only=True)
class PublishedTraining:
    """A training that a peer reports, with 8 GPUs of 2 images.

    Args:
        name: who reports what.
        config: ours that states the same model, below `configs/`.
        device: of the training.
        images: that the training takes in all.
        hours: that it took, None where a rate is reported.
        rate: images a second where that is reported.
        host_seconds: of a step, in which the device waits for the host: measured apart.
    """

    name: str
    config: str
    device: Device
    images: float = 0.0
    hours: float | None = None
    rate: float = 0.0
    host_seconds: float = 0.0

    @property
    def images_per_second(self) -> float:
        """The reported rate, or that which the hours imply."""
        return self.rate if self.hours is None else self.images / (self.hours * 3600)


PUBLISHED = (
    PublishedTraining(
        name="AdelaiDet R50 3x",
        config="solov2_adelaidet/solov2_r50_fpn_ms-3x_coco.py",
        device=V100,
        images=270_000 * 16,
        hours=25,
    ),
    PublishedTraining(
        name="AdelaiDet R101 3x",
        config="solov2_adelaidet/solov2_r101_fpn_ms-3x_coco.py",
        device=V100,
        images=270_000 * 16,
        hours=30,
    ),
    PublishedTraining(
        name="PaddleDetection R50 1x",
        config="solov2_paddle/solov2_r50_fpn_1x_coco.py",
        device=V100,
        images=12 * COCO_IMAGES,
        hours=10,
    ),
    PublishedTraining(name="DeepSpark R50 1x", config="solov2/solov2_r50_fpn_1x_coco.py", device=BI_V100, rate=21.26),
    PublishedTraining(
        name="the same, host counted",
        config="solov2/solov2_r50_fpn_1x_coco.py",
        device=BI_V100,
        rate=21.26,
        host_seconds=MMDET_TARGET_SECONDS,
    ),
)


def training_sizes(config: Config) -> list[tuple[int, int]]:
    """The sizes (H, W) of a 4:3 image that the training of a config draws from, padded as its batches are.

    Without a resize in the pipeline it is the size of its tests.
    """
    resizes = [step for step in config.train_pipeline if "scale" in step or "scales" in step]
    if not resizes:
        return [default_size(config)]
    sizes = []
    for scale in resizes[0].get("scales") or [resizes[0]["scale"]]:
        height = min(min(scale), max(scale) / ASPECT)
        sizes.append((_padded(height), _padded(height * ASPECT)))
    common = sorted(map(tuple, config.model.data_preprocessor.get("padded_sizes") or ()), key=math.prod)
    return [
        next((size for size in common if size[0] >= height and size[1] >= width), (height, width))
        for height, width in sizes
    ]


def _padded(side: float) -> int:
    return -(-int(side + 0.5) // 32) * 32


def step_at_peak(config: Config, device: Device, *, images: int = 2, bytes_a_gradient: int = 4) -> Step:
    """The step of a config's training as it would be if every convolution and product ran at the device's peak.

    Args:
        config: with a SOLOv2 as its `model`.
        device: that it runs on.
        images: of a process.
        bytes_a_gradient: 4, or 2 with `bfloat16_all_reduce`.
    """
    model = model_on_meta(config)
    times = [images * count_training_flops(model, size) / device.peak for size in training_sizes(config)]
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return Step(
        images=images,
        seconds=tuple(times),
        draws=images,
        gradient_bytes=trained * bytes_a_gradient,
        sample_bytes=COCO_IMAGE_BYTES,
    )


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """A published training beside what the model makes of it.

    Attributes:
        training: as published.
        share: of the device's peak that its rate implies.
        used_share: that the prediction is made with, from other trainings.
        prediction: at `used_share`.
    """

    training: PublishedTraining
    share: float
    used_share: float
    prediction: Prediction

    @property
    def error(self) -> float:
        """How much too fast the prediction is, as a part of what is published."""
        return self.prediction.images_per_second / self.training.images_per_second - 1


def reproduce(trainings: Sequence[PublishedTraining], configs: Sequence[Config]) -> list[Reproduction]:
    """Predict each training with the mean share of peak of the others on V100, never with its own.

    Args:
        trainings: published ones.
        configs: of each.
    """
    steps = [
        replace(step_at_peak(config, training.device), host_seconds=training.host_seconds)
        for training, config in zip(trainings, configs, strict=True)
    ]
    machines = [Machines(gpus=8, inside=training.device.inside, between=SLOW_NETWORK) for training in trainings]
    shares = [
        achieved_share(step, machine, training.images_per_second)
        for step, machine, training in zip(steps, machines, trainings, strict=True)
    ]
    found = []
    for index, (training, step, machine) in enumerate(zip(trainings, steps, machines, strict=True)):
        others = [share for other, share in enumerate(shares) if other != index and trainings[other].device is V100]
        used = sum(others) / len(others)
        prediction = predict(step.scaled(1 / used), machine)
        found.append(Reproduction(training=training, share=shares[index], used_share=used, prediction=prediction))
    return found
