"""bfloat16 autocast for the optimizer wrapper; learning rate and weight decay by parameter name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from solo.errors import ConfigError
from solo.registry import OPTIM_WRAPPER_CONSTRUCTORS

OPTIONS = {"norm_decay_mult", "custom_keys"}
MULTIPLIERS = ("lr_mult", "decay_mult")
NORMS = (_BatchNorm, nn.GroupNorm, nn.LayerNorm)


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Run the network under bfloat16 autocast, also on the CPU; weights, updates and losses stay float32.

    bfloat16 has the range of float32, so gradients need no loss scale and no step is skipped.

    Args:
        only_native: compute in float32 where the hardware has no instructions for bfloat16, which is faster there.
        **options: of mmengine's `OptimWrapper`.
    """

    def __init__(self, *args: Any, only_native: bool = False, **options: Any) -> None:
        super().__init__(*args, **options)
        self.only_native = only_native

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast the forward pass on the device of the model's weights."""
        device = next(model.parameters()).device.type
        enabled = not self.only_native or has_native_bfloat16(device)
        with super().optim_context(model), torch.autocast(device, dtype=torch.bfloat16, enabled=enabled):
            yield


def has_native_bfloat16(device: str) -> bool:
    """Whether the processor or GPU multiplies bfloat16 in hardware; `device` is "cpu" or "cuda"."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Private, and the only way to ask; torch 2.4 cannot be asked, and stays with float32.
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerwiseOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Set learning rate and weight decay by parameter name.

    `paramwise_cfg` is mmengine's with two differences. A key of `custom_keys` that sets `lr_mult` alone leaves
    `decay_mult` to the other rules, so that a learning rate for a stage does not restore the decay of its norms.
    Parameters with equal settings share a group, so that the optimizer updates them together.

    Example: `paramwise_cfg=dict(norm_decay_mult=0.0, custom_keys={"backbone.layer1": dict(lr_mult=0.05)})`. Of the
    keys that a parameter's name contains, the longest that sets `lr_mult` (or `decay_mult`) wins. `norm_decay_mult`
    applies to norms that no key matches.
    """

    def _validate_cfg(self) -> None:
        super()._validate_cfg()
        settings = {name for values in self.paramwise_cfg.get("custom_keys", {}).values() for name in values}
        unknown = sorted(set(self.paramwise_cfg) - OPTIONS) + sorted(settings - set(MULTIPLIERS))
        if unknown:
            raise ConfigError(
                f"optim_wrapper.paramwise_cfg has {unknown[0]!r}; {type(self).__name__} knows {sorted(OPTIONS)} and in "
                f"custom_keys {list(MULTIPLIERS)}"
            )

    def add_params(
        self, params: list[dict[str, Any]], module: nn.Module, prefix: str = "", is_dcn_module: object = None
    ) -> None:
        """Add a group for each pair of multipliers; the group with (1, 1), whose learning rate is logged, comes first.

        Raises:
            ConfigError: no parameter's name contains a key.
        """
        named = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
        norms = {
            id(parameter)
            for part in module.modules()
            if isinstance(part, NORMS)
            for parameter in part.parameters(recurse=False)
        }
        for key in self.paramwise_cfg.get("custom_keys", {}):
            if not any(key in name for name in named):
                raise ConfigError(f"optim_wrapper.paramwise_cfg.custom_keys: no trained parameter's name has {key!r}")
        groups: dict[tuple[float, float], list[nn.Parameter]] = {(1.0, 1.0): []}
        for name, parameter in named.items():
            groups.setdefault(self._multipliers(name, is_norm=id(parameter) in norms), []).append(parameter)
        for (rate, decay), parameters in groups.items():
            if parameters:
                group = {"params": parameters, "lr": self.base_lr * rate}
                params.append(group if self.base_wd is None else {**group, "weight_decay": self.base_wd * decay})

    def _multipliers(self, name: str, *, is_norm: bool) -> tuple[float, float]:
        keys = self.paramwise_cfg.get("custom_keys", {})
        found = sorted((key for key in keys if key in name), key=len)
        stated = {setting: value for key in found for setting, value in keys[key].items()}
        decay = self.paramwise_cfg.get("norm_decay_mult", 1.0) if is_norm else 1.0
        return stated.get("lr_mult", 1.0), stated.get("decay_mult", decay)
