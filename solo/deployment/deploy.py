"""Apply deployment options to a trained model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from solo.deployment.norm_folding import fold_norms
from solo.deployment.options import DTYPES, DeploymentOptions
from solo.deployment.packed_convs import pack_convs, packing_is_available
from solo.errors import ConfigError

SAMPLE_SIDE = 64


def deploy(model: BaseModel, options: DeploymentOptions) -> BaseModel:
    """Prepare a trained model for inference.

    Call it last, with the weights loaded and the model on its device: afterwards weights may have other names and
    shapes, and packed ones can neither be saved nor moved. In float16, bfloat16 and the channels-last layout only the
    network computes; its inputs and outputs stay in float32.

    Args:
        model: such as `SOLOv2`: with the parts `backbone` and `data_preprocessor` and a method `compute_outputs`, the
            network. Changed in place and left in evaluation mode.
        options: what to apply.

    Returns:
        The model.

    Raises:
        ConfigError: the model or its device does not support an option.
    """
    device = next(model.parameters()).device
    _check(model, options, device)
    model.eval()
    model.requires_grad_(False)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    if options.fold_norms:
        _fold_norms(model, device)
    if options.dtype != "float32":
        to_half(model, DTYPES[options.dtype])
    if options.channels_last:
        _to_channels_last(model, backbone_only=options.channels_last == "backbone")
    if options.pack_weights:
        pack_convs(model)
    if options.compiles:
        arguments = options.compile if isinstance(options.compile, Mapping) else {}
        # As a method of this object alone: a compiled module would put its prefix before the weights' names.
        model.compute_outputs = torch.compile(model.compute_outputs, **arguments)
    return model


def to_half(model: BaseModel, dtype: torch.dtype) -> None:
    """Convert convolutions and linear layers to a 16-bit type, except the first convolution and the predictors.

    The backbone's first convolution would round the image, and nothing averages the rounding errors of a predictor.
    They and the norms stay in float32: few of the operations, but the source of most changed detections.

    Args:
        model: with a part `backbone`; predictors are the convolutions with "predictor" in their names. Changed in
            place: every layer converts its inputs to the type of its weights.
        dtype: `torch.bfloat16` or `torch.float16`.
    """
    first = next((part for part in model.backbone.modules() if isinstance(part, nn.Conv2d)), None)
    for name, part in model.named_modules():
        # No subclass of a linear layer: that of torch's attention is computed by its parent, in the parent's type.
        is_heavy = isinstance(part, nn.Conv2d) or type(part) is nn.Linear
        if is_heavy and part is not first and "predictor" not in name:
            part.to(dtype)
        if next(part.parameters(recurse=False), None) is not None:
            part.register_forward_pre_hook(_convert_inputs)


def _check(model: BaseModel, options: DeploymentOptions, device: torch.device) -> None:
    if options.pack_weights and (device.type != "cpu" or not packing_is_available()):
        raise ConfigError(
            f"deployment option pack_weights needs a CPU, and oneDNN operators in torch; the model is on {device}"
        )
    uses_backbone = options.dtype != "float32" or options.channels_last == "backbone"
    for name, is_used in (("backbone", uses_backbone), ("compute_outputs", options.compiles)):
        if is_used and not hasattr(model, name):
            raise ConfigError(f"these deployment options need a model with `{name}`; {type(model).__name__} has none")


def _fold_norms(model: BaseModel, device: torch.device) -> None:
    homes = {name.partition(".")[0] for name, part in model.named_modules() if isinstance(part, _BatchNorm)}
    # The heads take as long for a small sample as for a large one.
    network = model.backbone if homes == {"backbone"} else model
    channels = len(getattr(model.data_preprocessor, "mean", range(3)))
    sample = torch.randn((1, channels, SAMPLE_SIDE, SAMPLE_SIDE), generator=torch.Generator().manual_seed(0))
    norms = fold_norms(network, sample.to(device))
    if norms.kept:
        MMLogger.get_current_instance().warning(
            f"{len(norms.kept)} of {len(norms.kept) + len(norms.folded)} batch normalisations were not folded, since "
            f"no convolution feeds them alone: {', '.join(norms.kept)}"
        )


def _to_channels_last(model: BaseModel, *, backbone_only: bool) -> None:
    """Convert the network's weights, and the images where they enter the backbone."""
    network = [part for name, part in model.named_children() if name != "data_preprocessor"]
    for part in [model.backbone] if backbone_only else network:
        part.to(memory_format=torch.channels_last)
    if hasattr(model, "backbone"):
        model.backbone.register_forward_pre_hook(_to_channels_last_inputs)
    if backbone_only:
        model.backbone.register_forward_hook(_to_default_layout)


def _to_channels_last_inputs(backbone: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(images.contiguous(memory_format=torch.channels_last) for images in inputs)


def _to_default_layout(backbone: nn.Module, inputs: Any, maps: Any) -> Any:
    return tuple(feature_map.contiguous() for feature_map in maps)


def _convert_inputs(layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """A forward pre-hook: floating point inputs in the type of the layer's weights."""
    dtype = next(layer.parameters(recurse=False)).dtype
    return tuple(x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x for x in inputs)
