"""Apply deployment options to a trained model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from solo.deployment.graphs import GraphedNetwork
from solo.deployment.half_precision import to_half
from solo.deployment.norm_folding import fold_norms
from solo.deployment.options import DTYPES, DeploymentOptions
from solo.deployment.packed_convs import pack_convs, packing_is_available
from solo.errors import ConfigError

SAMPLE_SIDE = 64


def deploy(model: BaseModel, options: DeploymentOptions) -> BaseModel:
    """Make a trained model ready to predict, and only to predict.

    To be called last, with the weights loaded and the model on its device: names and shapes of its weights are other
    ones afterwards, and packed or recorded ones can neither be saved nor moved. In float16 and bfloat16 and in the
    channels-last layout only the network computes; images come and outputs leave in float32.

    Args:
        model: a model such as `SOLOv2`: parts `backbone` and `data_preprocessor`, the network as its method
            `compute_outputs`, whose result `model(images)` returns. Changed in place and left in evaluation mode.
        options: what is done.

    Returns:
        The model.

    Raises:
        ConfigError: an option that the model or its device does not allow.
    """
    device = next(model.parameters()).device
    _check(model, options, device)
    model.eval()
    model.requires_grad_(False)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    if options.fold_norms:
        _fold_norms(model, device)
    network = [part for name, part in model.named_children() if name != "data_preprocessor"]
    if options.dtype != "float32":
        to_half(model, DTYPES[options.dtype])
    if options.channels_last:
        for part in network if options.channels_last is True else [model.backbone]:
            part.to(memory_format=torch.channels_last)
    if options.pack_weights:
        pack_convs(model)
    if hasattr(model, "backbone") and options.channels_last:
        model.backbone.register_forward_pre_hook(_with_channels_innermost)
    if options.channels_last == "backbone":
        model.backbone.register_forward_hook(_with_channels_outermost)
    if options.compiles:
        arguments = options.compile if isinstance(options.compile, Mapping) else {}
        # As a method of this object alone: a compiled module would put its prefix before the weights' names.
        model.compute_outputs = torch.compile(model.compute_outputs, **arguments)
    if options.cuda_graphs:
        model.compute_outputs = GraphedNetwork(model.compute_outputs)
    return model


def _check(model: BaseModel, options: DeploymentOptions, device: torch.device) -> None:
    if options.cuda_graphs and device.type != "cuda":
        raise ConfigError(f"deployment option cuda_graphs needs a model on a GPU; it is on {device}")
    if options.pack_weights and (device.type != "cpu" or not packing_is_available()):
        raise ConfigError(
            f"deployment option pack_weights needs a CPU, and oneDNN operators in torch; the model is on {device}"
        )
    needed = {"backbone": options.dtype != "float32" or options.channels_last == "backbone"}
    needed["compute_outputs"] = options.compiles or options.cuda_graphs
    for name, is_needed in needed.items():
        if is_needed and not hasattr(model, name):
            raise ConfigError(f"these deployment options need a model with `{name}`; {type(model).__name__} has none")


def _fold_norms(model: BaseModel, device: torch.device) -> None:
    homes = {name.partition(".")[0] for name, part in model.named_modules() if isinstance(part, _BatchNorm)}
    # The heads cost the same for a small sample as for a large one.
    network = model.backbone if homes == {"backbone"} else model
    sample = torch.randn((1, 3, SAMPLE_SIDE, SAMPLE_SIDE), generator=torch.Generator().manual_seed(0))
    norms = fold_norms(network, sample.to(device))
    if norms.kept:
        MMLogger.get_current_instance().warning(
            f"{len(norms.kept)} of {len(norms.kept) + len(norms.folded)} batch normalisations stay, since none is fed "
            f"by a convolution alone: {', '.join(norms.kept)}"
        )


def _with_channels_innermost(backbone: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A forward pre-hook."""
    return tuple(images.contiguous(memory_format=torch.channels_last) for images in inputs)


def _with_channels_outermost(backbone: nn.Module, inputs: Any, maps: Any) -> Any:
    """A forward hook."""
    return tuple(feature_map.contiguous() for feature_map in maps)
