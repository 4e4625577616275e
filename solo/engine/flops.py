"""Floating-point operations of a model's forward pass, counted on shapes alone."""

from __future__ import annotations

import torch
from mmengine.config import Config
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from solo.checkpoints.fitting import model_on_meta
from solo.config.overrides import require_parts
from solo.errors import ConfigError
from solo.structures import SOLOv2Outputs

PARTS = ("backbone", "neck", "mask_feature", "head")


def count_flops(model: nn.Module, size: tuple[int, int]) -> dict[str, int]:
    """Count the operations of the network for one image, from pixels to mask features and kernels.

    A multiplication with its addition counts as two; convolutions and matrix products count, the rest (normalisation,
    activation, resizing) does not. A deformable convolution counts as a convolution and that of its offsets; the
    placing of its samples does not count. What follows depends on the image and is left out: drawing the masks of
    cells, Matrix NMS, resizing.

    Args:
        model: a SOLOv2 on the meta device.
        size: height and width of the image in pixels; padded to multiples of 32.

    Returns:
        Operations by part: `backbone`, `neck`, `mask_feature`, `head`, and their sum, `total`.
    """
    counter = FlopCounterMode(depth=2, display=False)
    # The counter's hooks cannot bear parameters among the outputs that want a gradient.
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with counter, torch.no_grad(), torch.device("meta"):
        model.eval().requires_grad_(False)(torch.empty(1, 3, *size))
    for parameter in trained:
        parameter.requires_grad_()
    counts = counter.get_flop_counts()
    # A head that needs no mask feature branch leaves that part at 0.
    parts = {part: sum(counts.get(f"{type(model).__name__}.{part}", {}).values()) for part in PARTS}
    return {**parts, "total": counter.get_total_flops()}


def count_training_flops(model: nn.Module, size: tuple[int, int]) -> int:
    """Count the operations of the network's forward and backward pass for one image, as `count_flops` does.

    Frozen parts have no backward pass, so that a step is somewhat less than three forward passes.

    Args:
        model: a SOLOv2 on the meta device.
        size: height and width of the image in pixels; padded to multiples of 32.

    Raises:
        ConfigError: another model, whose masks are made in the loss.
    """
    if getattr(model, "mask_feature", None) is None:
        raise ConfigError("operations of a training are counted for SOLOv2 alone: this model has no mask_feature")
    counter = FlopCounterMode(display=False)
    with counter, torch.device("meta"):
        outputs: SOLOv2Outputs = model.train()(torch.empty(1, 3, *size))
        parts = (outputs.cls_logits, outputs.kernels, outputs.mask_feats)
        torch.stack([part.sum() for part in parts]).sum().backward()
    model.zero_grad()
    return counter.get_total_flops()


def describe_model(config: Config, size: tuple[int, int] | None = None) -> str:
    """A table of parameters and operations, part by part.

    Args:
        config: a config with a SOLOv2 as its `model`.
        size: height and width in pixels; None for `default_size`.

    Raises:
        ConfigError: no model or (without a size) no test data, a side below one pixel, or a model that cannot be
            built.
    """
    require_parts(
        config, ("model",) if size else ("model", "test_dataloader"), config_path=str(config.filename or "given")
    )
    size = size or default_size(config)
    if min(size) < 1:
        raise ConfigError(f"the image must have at least one pixel; came {size[0]} x {size[1]}")
    model = model_on_meta(config)
    flops = count_flops(model, size)
    parts = [part for part in PARTS if getattr(model, part) is not None]
    parameters = {part: _count(getattr(model, part)) for part in parts} | {"total": _count(model)}
    rows = [f"{'input':<14}{size[0]} x {size[1]}", f"{'':<14}{'M parameters':>14}{'GFLOP':>10}"]
    rows += [f"{part:<14}{parameters[part] / 1e6:>14.2f}{flops[part] / 1e9:>10.1f}" for part in (*parts, "total")]
    return "\n".join(rows)


def default_size(config: Config) -> tuple[int, int]:
    """Height and width of a landscape image that fills the test pipeline's scale, padded to multiples of 32."""
    scales = [step["scale"] for step in config.test_dataloader.dataset.pipeline if "scale" in step]
    long, short = (max(scales[0]), min(scales[0])) if scales else (256, 256)
    return short + -short % 32, long + -long % 32


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
