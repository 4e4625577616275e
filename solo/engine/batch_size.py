"""`--batch-size auto`: as many images a step as the memory holds, from one measured step."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope

from solo.config.overrides import use_amp
from solo.errors import ConfigError
from solo.registry import DATASETS, MODELS, SCOPE

PROBE_IMAGES = 2
PROBE_DRAWS = 3
"""How often the random transforms of each probed image are drawn; the largest result counts."""

USABLE = {"cuda": 0.8, "cpu": 0.6}
"""Share of the free memory: other images are larger, and on a CPU the loader's workers need some of it."""

MAX_ON_GPU = 64
MIN_STEPS = 8
"""Steps an epoch has at least, unless the config's batch size gives fewer."""

MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class StepMemory:
    """Bytes that a training step needs beyond the weights.

    Attributes:
        constant: gradients and the state of the optimiser.
        image: activations and inputs of one image.
    """

    constant: int
    image: int


@dataclass(frozen=True, kw_only=True)
class BatchSize:
    """A chosen batch size.

    Attributes:
        size: images a step.
        reason: why, in a sentence.
    """

    size: int
    reason: str


def choose_batch_size(config: Config, *, amp: bool = False) -> BatchSize:
    """Measure one training step with the images that have the most objects, and choose a batch size.

    Args:
        config: it is not changed; the backbone of the measured model has random weights.
        amp: whether the training will use mixed precision.

    Raises:
        ConfigError: not even one image fits.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dataset, memory = measure_step(config, device=device, amp=amp)
    return fit_batch_size(
        memory,
        free=free_memory(device),
        device=device,
        num_images=len(dataset),
        configured=int(config.train_dataloader.batch_size),
    )


def fit_batch_size(memory: StepMemory, *, free: int, device: str, num_images: int, configured: int) -> BatchSize:
    """The largest power of two within the limits of memory, of the data and of what is of use.

    Args:
        memory: of a step.
        free: bytes.
        device: "cuda" or "cpu".
        num_images: of the training data.
        configured: the config's batch size: the largest on a CPU, where a larger one is no faster, and what few images
            do not reduce.

    Raises:
        ConfigError: not even one image fits.
    """
    usable = int(free * USABLE[device])
    limits = {
        f"memory ({USABLE[device]:.0%} of the {free / MIB:,.0f} MiB that are free)": (usable - memory.constant)
        // max(memory.image, 1),
        f"{MIN_STEPS} steps an epoch with {num_images} images": max(num_images // MIN_STEPS, configured),
    }
    if device == "cpu":
        limits["the config's batch size, as larger ones are no faster on a CPU"] = configured
    else:
        limits["the largest that is tried"] = MAX_ON_GPU
    limit = min(limits, key=lambda name: limits[name])
    needs = f"{memory.image / MIB:,.0f} MiB an image and {memory.constant / MIB:,.0f} MiB for gradients and optimiser"
    if limits[limit] < 1:
        raise ConfigError(f"--batch-size auto: not one image fits: a step needs {needs}; limit: {limit}")
    size = 2 ** (int(limits[limit]).bit_length() - 1)
    if device == "cpu" and size * 2 > configured >= size and limits[limit] == configured:
        size = configured
    return BatchSize(size=size, reason=f"{needs}; limited by {limit}")


def measure_step(config: Config, *, device: str, amp: bool = False) -> tuple[Any, StepMemory]:
    """Run one training step and measure its memory; returns the training data too."""
    config = config.copy()
    init_default_scope(config.get("default_scope") or SCOPE)
    if amp:
        use_amp(config)
    if "backbone" in config.model:
        config.model.backbone.init_cfg = None
    dataset = DATASETS.build(config.train_dataloader.dataset)
    samples = _heavy_samples(dataset)
    model = MODELS.build(config.model).to(device).train()
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    start = _used(device)
    model.train_step(pseudo_collate(samples), wrapper)
    peak = max(0, _peak(device) - start)
    state = sum(
        value.numel() * value.element_size()
        for values in wrapper.optimizer.state.values()
        for value in values.values()
        if isinstance(value, torch.Tensor)
    )
    constant = trained + state
    del model, wrapper
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
    # At the peak, in the backward pass, the state of the optimiser is not there yet.
    return dataset, StepMemory(constant=constant, image=max(0, peak - trained) // len(samples))


def free_memory(device: str) -> int:
    """Bytes that this process can still get: of the GPU, or of the machine and its control group."""
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    limits = [_meminfo("/proc/meminfo", "MemAvailable")]
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        values = [Path(name).read_text().strip() if Path(name).is_file() else "" for name in (limit, used)]
        if all(value.isdecimal() for value in values):
            limits.append(int(values[0]) - int(values[1]))
    known = [value for value in limits if value is not None]
    if not known:
        raise ConfigError("--batch-size auto: the free memory of this system is unknown; give a number")
    return max(0, min(known))


def _heavy_samples(dataset: Any) -> Sequence[Any]:
    """Samples of the images with the most objects, each the largest of some draws of its random transforms."""
    count = min(PROBE_IMAGES, len(dataset))
    counts = [
        len(dataset.get_data_info(index).get("instances", ())) if hasattr(dataset, "get_data_info") else 0
        for index in range(len(dataset))
    ]
    indices = sorted(range(len(dataset)), key=lambda index: -counts[index])[:count]
    return [
        max((dataset[index] for _ in range(PROBE_DRAWS)), key=lambda sample: sample["inputs"].numel())
        for index in indices
    ]


def _used(device: str) -> int:
    """Bytes in use now; the peak is measured from here on."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return int(torch.cuda.memory_allocated())
    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak of the resident memory
    except OSError:
        MMLogger.get_current_instance().warning("--batch-size auto: the peak memory includes that of earlier steps")
    return _meminfo("/proc/self/status", "VmRSS") or 0


def _peak(device: str) -> int:
    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    return _meminfo("/proc/self/status", "VmHWM") or 0


def _meminfo(path: str, key: str) -> int | None:
    """Bytes of a line `KEY: N kB`; None where there is no such file or line."""
    file = Path(path)
    lines = file.read_text().splitlines() if file.is_file() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:")), None)
