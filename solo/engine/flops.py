"""Count the floating-point operations of a model on the meta device, from shapes alone."""

from __future__ import annotations

import torch
from mmengine.config import Config
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from solo.checkpoints.fitting import model_on_meta
from solo.config.overrides import require_parts
from solo.errors import ConfigError

PARTS = ("backbone", "neck", "mask_feature", "head")


def count_flops(model: nn.Module, size: tuple[int, int]) -> dict[str, int]:
    """Count the operations of the network for one image, from pixels to mask features and kernels.

    Only convolutions and matrix products count, a multiply-add as two operations. A deformable convolution counts as
    its two convolutions (values and offsets) without the sampling. The mask decoder, Matrix NMS and resizing are left
    out: their cost depends on the image.

    Args:
        model: a SOLOv2 on the meta device.
        size: height and width of the image in pixels; padded to multiples of 32.

    Returns:
        Operations by part: `backbone`, `neck`, `mask_feature`, `head`, and their sum, `total`.
    """
    channels = len(getattr(model.data_preprocessor, "mean", range(3)))
    counter = FlopCounterMode(depth=2, display=False)
    # The counter's hooks fail on parameters among the outputs that require a gradient.
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with counter, torch.no_grad(), torch.device("meta"):
        model.eval().requires_grad_(False)(torch.empty(1, channels, *size))
    for parameter in trained:
        parameter.requires_grad_()
    counts = counter.get_flop_counts()
    # 0 for the mask feature branch of a head that has none.
    parts = {part: sum(counts.get(f"{type(model).__name__}.{part}", {}).values()) for part in PARTS}
    return {**parts, "total": counter.get_total_flops()}


def describe_model(config: Config, size: tuple[int, int] | None = None) -> str:
    """Format a table of the parameters and operations of each part.

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
        raise ConfigError(f"the image must have at least one pixel; got {size[0]} x {size[1]}")
    model = model_on_meta(config)
    flops = count_flops(model, size)
    parts = [part for part in PARTS if getattr(model, part) is not None]
    parameters = {part: _count(getattr(model, part)) for part in parts} | {"total": _count(model)}
    rows = [f"{'input':<14}{size[0]} x {size[1]}", f"{'':<14}{'M parameters':>14}{'GFLOP':>10}"]
    rows += [f"{part:<14}{parameters[part] / 1e6:>14.2f}{flops[part] / 1e9:>10.1f}" for part in (*parts, "total")]
    return "\n".join(rows)


def default_size(config: Config) -> tuple[int, int]:
    """Height and width of a landscape image at the test pipeline's scale, padded to multiples of 32."""
    scales = [step["scale"] for step in config.test_dataloader.dataset.pipeline if "scale" in step]
    long, short = (max(scales[0]), min(scales[0])) if scales else (256, 256)
    return short + -short % 32, long + -long % 32


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
