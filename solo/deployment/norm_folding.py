"""Batch normalisation multiplied into the convolution before it, in any network: what follows what is watched."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

TOLERANCE = 1e-3
"""A convolution that does not do, to this share of the largest value, what it did with its norm keeps the norm."""


class FoldedNorms(NamedTuple):
    """What became of the batch normalisations of a network, by their names.

    Attributes:
        folded: those that are part of a convolution now.
        kept: those that stay: no convolution alone feeds them, or something else reads its output too.
    """

    folded: list[str]
    kept: list[str]


@torch.no_grad()
def fold_norms(network: nn.Module, sample: Tensor) -> FoldedNorms:
    """Multiply each batch normalisation into the convolution that alone feeds it; an identity takes its place.

    Modules are not matched by their names or order: the network runs once, and a pair is one whose convolution's output
    went into the norm and nowhere else, in every call. Afterwards each new convolution is compared with the old pair.

    Args:
        network: in evaluation mode; changed in place.
        sample: an input of it.

    Raises:
        ValueError: the network is in training mode, where norms depend on the batch.
    """
    if network.training:
        raise ValueError("norms can only be folded in evaluation mode, the network is in training mode")
    norms = {name: part for name, part in network.named_modules() if isinstance(part, _BatchNorm)}
    if not norms:
        return FoldedNorms([], [])
    with _Watch(network) as watch:
        network(sample)
    folded = {norm for norm, conv in watch.pairs().items() if _fold(conv, norm, watch.example(norm))}
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if child in folded:
                setattr(parent, name, nn.Identity())
    return FoldedNorms(
        folded=[name for name, norm in norms.items() if norm in folded],
        kept=[name for name, norm in norms.items() if norm not in folded],
    )


class _Call(NamedTuple):
    """Of a convolution the very output and a copy of the input, of a norm the other way round: the copies keep what
    later operations change in place."""

    module: nn.Module
    input: Tensor
    output: Tensor


class _Watch(TorchDispatchMode):
    """Within it, who calls what with which tensors, and how many operations read each."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._parts = [part for part in network.modules() if isinstance(part, (nn.Conv2d, _BatchNorm))]
        self._shared = Counter(id(part.weight) for part in self._parts if isinstance(part, nn.Conv2d))
        self._calls: list[_Call] = []  # holds the tensors, so that no other takes their ids
        self._reads: Counter[int] = Counter()
        self._hooks: list[Any] = []

    def __enter__(self) -> _Watch:
        self._hooks = [part.register_forward_hook(self._note) for part in self._parts]
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for hook in self._hooks:
            hook.remove()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._reads.update(id(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))
        return func(*args, **(kwargs or {}))

    def _note(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        is_norm = isinstance(module, _BatchNorm)
        given, made = (inputs[0], output.clone()) if is_norm else (inputs[0].clone(), output)
        self._calls.append(_Call(module, given, made))
        # Until now the id was another tensor's.
        self._reads.pop(id(made), None)

    def pairs(self) -> dict[_BatchNorm, nn.Conv2d]:
        """The convolution of each norm that one convolution alone feeds, and which feeds nothing else."""
        made_by = {id(call.output): call for call in self._calls if isinstance(call.module, nn.Conv2d)}
        sources: dict[nn.Module, set[nn.Module | None]] = {}
        readers: dict[nn.Module, set[nn.Module | None]] = {}
        for call in self._calls:
            source = made_by.get(id(call.input)) if isinstance(call.module, _BatchNorm) else None
            if source is not None and self._reads[id(source.output)] == 1:
                sources.setdefault(call.module, set()).add(source.module)
                readers.setdefault(source.module, set()).add(call.module)
            elif isinstance(call.module, _BatchNorm):
                sources.setdefault(call.module, set()).add(None)
        fed = {id(call.input) for call in self._calls if isinstance(call.module, _BatchNorm)}
        for call in made_by.values():
            if id(call.output) not in fed or self._shared[id(call.module.weight)] > 1:
                readers.setdefault(call.module, set()).add(None)
        return {
            norm: conv
            for norm, (conv, *others) in ((norm, list(found)) for norm, found in sources.items())
            if isinstance(norm, _BatchNorm)
            and isinstance(conv, nn.Conv2d)
            and not others
            and readers[conv] == {norm}
            and norm.track_running_stats
        }

    def example(self, norm: _BatchNorm) -> tuple[Tensor, Tensor]:
        """What went into the convolution before a norm of `pairs`, and what came out of the norm."""
        after = next(call for call in self._calls if call.module is norm)
        before = next(call for call in self._calls if call.output is after.input)
        return before.input, after.output


def _fold(conv: nn.Conv2d, norm: _BatchNorm, example: tuple[Tensor, Tensor]) -> bool:
    """Make a convolution do what its norm did as well; False, and all as it was, if it then does something else."""
    weight, bias = conv.weight, conv.bias
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None and variance is not None
    scale = (variance.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    shift = -mean.double() * scale
    if norm.bias is not None:
        shift = shift + norm.bias.double()
    if bias is not None:
        shift = shift + bias.double() * scale
    conv.weight = nn.Parameter((weight.double() * scale[:, None, None, None]).to(weight.dtype))
    conv.bias = nn.Parameter(shift.to(weight.dtype))
    given, expected = example
    if (conv(given) - expected).abs().max() <= TOLERANCE * expected.abs().max():
        return True
    conv.weight, conv.bias = weight, bias
    return False
