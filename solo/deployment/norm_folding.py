"""Fold batch normalisations into the convolutions before them, in any network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils._pytree import tree_leaves

TOLERANCE = 1e-3
"""Folded norms must not change an output of the sample by more than this share of its largest value."""


class FoldedNorms(NamedTuple):
    """Names of the batch normalisations that were folded, and of those kept: no convolution feeds those alone."""

    folded: list[str]
    kept: list[str]


@torch.no_grad()
def fold_norms(network: nn.Module, sample: Tensor) -> FoldedNorms:
    """Fold each batch normalisation into the convolution whose output it reads; an identity, or the
    activation that it contains (timm's do), replaces it.

    One run of the network finds the pairs, whatever their names and order. A convolution may also feed something else,
    which changes the outputs of the sample: then the pairs are folded one by one instead of all at once.

    Args:
        network: in evaluation mode; changed in place.
        sample: an input of it.

    Raises:
        ValueError: the network is in training mode, where norms depend on the batch.
    """
    if network.training:
        raise ValueError("norms can only be folded in evaluation mode, the network is in training mode")
    norms = {name: part for name, part in network.named_modules() if isinstance(part, _BatchNorm)}
    if not norms:  # a network without norms need not take the sample
        return FoldedNorms(folded=[], kept=[])
    pairs = _find_pairs(network, sample)
    expected = _outputs(network, sample)
    folded = set(pairs)
    if not _fold_if_same(network, pairs, sample, expected):
        folded = {norm for norm, conv in pairs.items() if _fold_if_same(network, {norm: conv}, sample, expected)}
    return FoldedNorms(
        folded=[name for name, norm in norms.items() if norm in folded],
        kept=[name for name, norm in norms.items() if norm not in folded],
    )


def _outputs(network: nn.Module, sample: Tensor) -> list[Tensor]:
    """All tensors that the network returns; the sample is copied, as the network may write into it."""
    return [leaf for leaf in tree_leaves(network(sample.clone())) if isinstance(leaf, Tensor)]


def _find_pairs(network: nn.Module, sample: Tensor) -> dict[_BatchNorm, nn.Conv2d]:
    """The norms that read the output of one and the same convolution in every call, with that convolution."""
    made_by: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # by the id of the output, which must live to keep its id
    sources: dict[_BatchNorm, set[nn.Conv2d | None]] = {}

    def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            made_by[id(output)] = module, output
        elif isinstance(module, _BatchNorm):
            sources.setdefault(module, set()).add(made_by.get(id(inputs[0]), (None, None))[0])

    hooks = [part.register_forward_hook(record) for part in network.modules()]
    network(sample.clone())
    for hook in hooks:
        hook.remove()
    found = {norm: next(iter(convs)) for norm, convs in sources.items() if len(convs) == 1}
    return {norm: conv for norm, conv in found.items() if conv is not None and norm.track_running_stats}


def _fold_if_same(
    network: nn.Module, pairs: Mapping[_BatchNorm, nn.Conv2d], sample: Tensor, expected: Sequence[Tensor]
) -> bool:
    """Fold the pairs; undo it and return False if that changes the outputs."""
    former = {conv: (conv.weight, conv.bias) for conv in pairs.values()}
    rests = {norm: nn.Sequential(*norm.children()) if any(norm.children()) else nn.Identity() for norm in pairs}
    for norm, conv in pairs.items():
        assert norm.running_mean is not None and norm.running_var is not None
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
    _replace(network, rests)
    found = _outputs(network, sample)
    if all((x - y).abs().max() <= TOLERANCE * y.abs().max() for x, y in zip(found, expected, strict=True)):
        return True
    for conv, (weight, bias) in former.items():
        conv.weight, conv.bias = weight, bias
    _replace(network, {rest: norm for norm, rest in rests.items()})
    return False


def _replace(network: nn.Module, replacements: Mapping[Any, nn.Module]) -> None:
    """Replace the keys by their values, everywhere in the network."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if child in replacements:
                setattr(parent, name, replacements[child])
