"""Convolutions whose weights are kept in oneDNN's own memory layout."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

PACKED_DTYPES = (torch.float32, torch.bfloat16)
OPERATORS = ("_reorder_convolution_weight", "_convolution_pointwise")


def packing_is_available() -> bool:
    """Whether torch was built with oneDNN and has the operators, which are not part of its public interface."""
    return torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in OPERATORS)


class PackedConv2d(nn.Module):
    """Equivalent to an `nn.Conv2d` on the CPU, without converting its weights to oneDNN's layout at every call.

    Computes in the channels-last layout, whatever that of its input. The packed weights are no parameter: they have no
    gradient and cannot be copied, saved or moved.

    Args:
        conv: a convolution that `can_be_packed`.

    Shape:
        as `nn.Conv2d`; the output is channels-last.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.geometry = (list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups)
        weight = conv.weight.detach()
        self.dtype = weight.dtype
        self.packed_weight = torch.ops.mkldnn._reorder_convolution_weight(weight, *self.geometry)
        self.bias = None if conv.bias is None else nn.Parameter(conv.bias.detach(), requires_grad=False)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Refuse to be copied or pickled, with a hint that torch's own error lacks.

        Raises:
            TypeError: always.
        """
        raise TypeError(
            "packed convolutions cannot be copied or pickled: deploy without pack_weights, for instance "
            "SOLOPredictor(..., deployment=DeploymentOptions()), or build one predictor in each process"
        )

    def forward(self, input: Tensor) -> Tensor:
        packed: Tensor = torch.ops.mkldnn._convolution_pointwise(
            input.to(self.dtype), self.packed_weight, self.bias, *self.geometry, "none", [], ""
        )
        return packed


def can_be_packed(module: nn.Module) -> bool:
    """Whether it is a plain zero-padded convolution on the CPU, of a type that oneDNN has kernels for.

    Not float16: only some processors have kernels for it, and torch does not tell which.
    """
    return (
        type(module) is nn.Conv2d
        and module.weight.device.type == "cpu"
        and module.weight.dtype in PACKED_DTYPES
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
    )


@torch.no_grad()
def pack_convs(network: nn.Module) -> list[str]:
    """Replace each convolution that can be packed by a `PackedConv2d`; returns their names.

    Args:
        network: changed in place.
    """
    names = [name for name, part in network.named_modules() if can_be_packed(part)]
    packed: dict[nn.Module, PackedConv2d] = {}  # one for a convolution that is used several times
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d) and can_be_packed(child):
                packed.setdefault(child, PackedConv2d(child))
                setattr(parent, name, packed[child])
    return names
