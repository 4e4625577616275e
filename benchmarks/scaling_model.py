"""A model of data-parallel training on paper: images a second of many GPUs from the step of one and the links.

A step lasts as long as the slowest process computes or its loader delivers, and as long as the part of the gradient
all-reduce that the backward pass does not hide. Nothing here runs a network; times come in as numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

BUCKET_BYTES = 25 * 2**20
"""Gradients travel in buckets of this size (the default of torch's DistributedDataParallel)."""


@dataclass(frozen=True, kw_only=True)
class Link:
    """A connection, in one direction.

    Args:
        bytes_per_second: what it carries.
        latency: seconds that a message takes however short it is.
    """

    bytes_per_second: float
    latency: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Machines:
    """Equal machines with equal GPUs.

    Args:
        gpus: all together.
        gpus_per_machine: of one; all of `gpus` if it is more.
        inside: from a GPU to the others of its machine.
        between: from a machine, with all that its adapters carry together, to another one.
    """

    gpus: int
    gpus_per_machine: int = 8
    inside: Link
    between: Link

    def __post_init__(self) -> None:
        if self.gpus < 1 or self.gpus_per_machine < 1 or (self.count > 1 and self.gpus % self.gpus_per_machine):
            raise ValueError(
                f"gpus must fill machines of gpus_per_machine; came {self.gpus} GPUs in machines of "
                f"{self.gpus_per_machine}"
            )

    @property
    def count(self) -> int:
        """How many machines."""
        return math.ceil(self.gpus / self.gpus_per_machine)


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one process does in one step.

    Args:
        images: of its batch.
        seconds: times of forward and backward pass and update, each as likely as the others: measured ones, or one for
            each size of the training images.
        gradient_bytes: what is summed over the processes: 4 a trained parameter, 2 with `bfloat16_all_reduce`.
        draws: from `seconds` in a step, of which the largest counts: 1 of measured times; `images` of the times of
            sizes, since a batch is padded to its largest image.
        backward_share: of `seconds`, during which gradients become ready one after the other.
        host_seconds: of a step, in which the device waits for the host.
        loader_seconds: of work that a sample takes in the loader.
        workers: loader processes of one process.
        sample_bytes: of a sample in storage.
    """

    images: int
    seconds: tuple[float, ...]
    gradient_bytes: float
    draws: int = 1
    backward_share: float = 2 / 3
    host_seconds: float = 0.0
    loader_seconds: float = 0.0
    workers: int = 2
    sample_bytes: float = 0.0

    def __post_init__(self) -> None:
        if min(self.images, self.workers, self.draws) < 1 or not self.seconds or min(self.seconds) <= 0:
            raise ValueError(
                "a step has at least one image, worker, draw and time, and times above 0; came "
                f"images={self.images}, workers={self.workers}, draws={self.draws}, seconds={self.seconds}"
            )

    @property
    def mean_seconds(self) -> float:
        """The mean time of the device's work."""
        return expected_slowest(self.seconds, self.draws)

    @property
    def batch_loading(self) -> float:
        """Seconds from one batch of the loader to the next when it is never made to wait."""
        return self.images * self.loader_seconds / self.workers

    def scaled(self, factor: float) -> Step:
        """The same step, its computation `factor` times as long."""
        return replace(self, seconds=tuple(seconds * factor for seconds in self.seconds))


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a step comes to.

    Attributes:
        gpus: how many.
        step_seconds: of a step of all processes together.
        images_per_second: of all of them.
        efficiency: `images_per_second` over that of one GPU alone times `gpus`.
        slowest_seconds: until the slowest process has computed.
        exposed_seconds: of the all-reduce, that no computation hides.
        storage_bytes_per_second: read by all of them.
        loader_bound: whether the loader is what the step waits for.
    """

    gpus: int
    step_seconds: float
    images_per_second: float
    efficiency: float
    slowest_seconds: float
    exposed_seconds: float
    storage_bytes_per_second: float
    loader_bound: bool


def predict(step: Step, machines: Machines) -> Prediction:
    """Put a step of one process on many."""
    slowest = expected_slowest(step.seconds, step.draws * machines.gpus) + step.host_seconds
    exposed = exposed_seconds(step, machines)
    together = max(slowest + exposed, step.batch_loading)
    rate = machines.gpus * step.images / together
    alone = step.images / max(step.mean_seconds + step.host_seconds, step.batch_loading)
    return Prediction(
        gpus=machines.gpus,
        step_seconds=together,
        images_per_second=rate,
        efficiency=rate / (machines.gpus * alone),
        slowest_seconds=slowest,
        exposed_seconds=exposed,
        storage_bytes_per_second=rate * step.sample_bytes,
        loader_bound=step.batch_loading > slowest + exposed,
    )


def expected_slowest(seconds: Sequence[float], draws: int) -> float:
    """The mean of the largest of so many independent draws from equally likely times: what a step waits for."""
    ordered = sorted(seconds)
    count = len(ordered)
    chances = [((rank + 1) / count) ** draws - (rank / count) ** draws for rank in range(count)]
    return math.fsum(time * chance for time, chance in zip(ordered, chances, strict=True))


def all_reduce_seconds(size: float, machines: Machines) -> float:
    """Seconds to sum `size` bytes over all GPUs, two ways of a ring: inside each machine, then between machines.

    Of n members each sends and receives 2 (n - 1) / n of the bytes (Patarasuk and Yuan 2009). Between machines the GPUs
    of each share the bytes and the machine's adapters. Latencies count as in a tree, 2 log2(n) of them.
    """
    members = min(machines.gpus, machines.gpus_per_machine)
    return _ring_seconds(size, members, machines.inside) + _ring_seconds(size, machines.count, machines.between)


def _ring_seconds(size: float, members: int, link: Link) -> float:
    return 2 * (members - 1) / members * size / link.bytes_per_second + 2 * math.log2(members) * link.latency


def exposed_seconds(step: Step, machines: Machines) -> float:
    """Seconds of the all-reduce that remain when the backward pass has ended.

    Bucket after bucket becomes ready in equal distances over the backward pass, the last one at its end, and travels
    once those before it have.
    """
    buckets = max(1, math.ceil(step.gradient_bytes / BUCKET_BYTES))
    one = all_reduce_seconds(step.gradient_bytes / buckets, machines)
    backward = step.backward_share * step.mean_seconds
    return max(buckets * one - backward * (1 - 1 / buckets), one)


def achieved_share(step_at_peak: Step, machines: Machines, images_per_second: float) -> float:
    """The share of peak that a published rate implies.

    Args:
        step_at_peak: the step as it would be if every operation ran at the device's peak.
        machines: of the publication.
        images_per_second: that it reports, of all GPUs.

    Raises:
        ValueError: even at peak the model predicts less.
    """
    if predict(step_at_peak, machines).images_per_second < images_per_second:
        raise ValueError(f"{images_per_second:.1f} images/s are more than {machines.gpus} GPUs can do at their peak")
    return _bisect(lambda share: predict(step_at_peak.scaled(1 / share), machines).images_per_second, images_per_second)


def _bisect(rising: Callable[[float], float], wanted: float) -> float:
    """Where in (0, 1] a rising function takes a value."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < wanted else (low, middle)
    return high
