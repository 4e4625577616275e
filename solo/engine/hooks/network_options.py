"""How the network runs: memory layout, compilation and recomputation in training, deployment options in tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from solo.deployment import DeploymentOptions, deploy
from solo.errors import ConfigError
from solo.inference.tta.config import trained_model
from solo.registry import HOOKS

_FEWEST_CHANNELS = 16


@HOOKS.register_module()
class NetworkOptionsHook(Hook):
    """Change how the network runs, not what it computes. Names and shapes of the weights do not change.

    Args:
        channels_last: use the channels-last layout for weights and images, which is fastest for tensor cores and for
            bfloat16 on the CPU. In float32 on the CPU it is some 5 % faster, and group normalisation is less exact
            where a group's mean is far from zero.
        compile: arguments of `torch.compile` for the network, `dict()` for its defaults. Losses and targets are not
            compiled. Every new image size compiles again; `padded_sizes` of `ImagePreprocessor` bounds their number.
        recompute: names of submodules such as "neck" or "backbone.layer3" whose activations are computed again in the
            backward pass instead of stored (activation checkpointing): less memory, a second forward pass.

    Raises:
        ConfigError: the model lacks a submodule, or its batch normalisation would count each batch twice; a
            convolution would crash in the channels-last layout.
    """

    priority = "VERY_LOW"

    def __init__(
        self,
        *,
        channels_last: bool = False,
        compile: dict[str, Any] | None = None,
        recompute: Sequence[str] = (),
    ) -> None:
        self.channels_last = channels_last
        self.compile = compile
        self.recompute = tuple(recompute)

    def before_train(self, runner: Runner) -> None:
        """Apply the options, once weights are loaded and the model is on its device."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        # mmengine does this only afterwards; until then norms of a backbone with norm_eval=True are in training mode.
        model.train()
        if self.channels_last:
            _check_few_channels(model)
            model.to(memory_format=torch.channels_last)
            model.backbone.register_forward_pre_hook(_to_channels_last)
        for name in self.recompute:
            _recompute(model, name)
        if self.compile is not None:
            # As a method of this object alone: a compiled module would put its prefix before the weights' names.
            model.compute_outputs = torch.compile(model.compute_outputs, **self.compile)


@HOOKS.register_module()
class DeploymentHook(Hook):
    """Deploy the model before a test, once its weights are loaded. Training and its evaluations are not affected.

    Args:
        options: fields of `DeploymentOptions`; None for those recommended for the model's device.

    Raises:
        ConfigError: an option is unknown, or the model or its device does not support it.
    """

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        self.options = None if options is None else DeploymentOptions.from_mapping(options)

    def before_test(self, runner: Runner) -> None:
        """Deploy the model that is tested."""
        model = trained_model(runner.model)
        deploy(model, self.options or DeploymentOptions.recommended(next(model.parameters()).device))


def _check_few_channels(model: nn.Module) -> None:
    """Refuse convolutions in whose backward pass oneDNN writes past its memory and crashes (torch 2.13)."""
    for name, module in model.named_modules():
        if not isinstance(module, nn.Conv2d) or module.weight.device.type != "cpu":
            continue
        if module.kernel_size == (1, 1) and module.stride != (1, 1) and module.in_channels < _FEWEST_CHANNELS:
            raise ConfigError(
                f"NetworkOptionsHook.channels_last: {name} is a 1x1 convolution with a stride and {module.in_channels} "
                f"channels; with fewer than {_FEWEST_CHANNELS} torch crashes on it on the CPU"
            )


def _to_channels_last(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(tensor.contiguous(memory_format=torch.channels_last) for tensor in inputs)


def _recompute(model: nn.Module, name: str) -> None:
    parts = dict(model.named_modules())
    if not name or name not in parts:
        raise ConfigError(f"NetworkOptionsHook.recompute: the model has no part {name!r}")
    part = parts[name]
    for inner_name, module in part.named_modules():
        if isinstance(module, _BatchNorm) and module.training and module.track_running_stats:
            raise ConfigError(
                f"NetworkOptionsHook.recompute: {name}.{inner_name} would count every batch twice in its statistics; "
                "norm_eval=True of the backbone avoids that"
            )
    part.forward = partial(checkpoint, part.forward, use_reentrant=False, preserve_rng_state=False)
