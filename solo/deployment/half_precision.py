"""A network in half precision, but for the few steps whose rounding changes detections most."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn


def to_half(model: BaseModel, dtype: torch.dtype) -> None:
    """Bring convolutions and linear layers to a type of 16 bits, but for the first convolution and the predictors.

    The backbone's first one would round the image, and nothing after the predictors averages what they round. These
    and the norms stay in float32: a small part of the operations, from which most of the changed detections came.

    Args:
        model: with a part `backbone`; predictors are the convolutions with "predictor" in their
            names. Changed in place: every layer converts its inputs to the type of its weights.
        dtype: `torch.bfloat16` or `torch.float16`.
    """
    first = next((part for part in model.backbone.modules() if isinstance(part, nn.Conv2d)), None)
    for name, part in model.named_modules():
        # Of linear layers no subclass: that of torch's attention is computed by its parent, in the parent's type.
        is_heavy = isinstance(part, nn.Conv2d) or type(part) is nn.Linear
        if is_heavy and part is not first and "predictor" not in name:
            part.to(dtype)
        if next(part.parameters(recurse=False), None) is not None:
            part.register_forward_pre_hook(_convert_inputs)


def _convert_inputs(layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """A forward pre-hook."""
    dtype = next(layer.parameters(recurse=False)).dtype
    return tuple(x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x for x in inputs)
