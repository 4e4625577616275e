"""Learning rate and decay layer by layer."""

from __future__ import annotations

from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from solo.errors import ConfigError
from solo.registry import OPTIM_WRAPPER_CONSTRUCTORS

OPTIONS = {"norm_decay_mult", "custom_keys"}
MULTIPLIERS = ("lr_mult", "decay_mult")
NORMS = (_BatchNorm, nn.GroupNorm, nn.LayerNorm)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerwiseOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Optimizer whose settings depend on the names of the parameters.

    `paramwise_cfg` is mmengine's with two differences. A key of `custom_keys` that states one setting leaves the
    other to the remaining rules, so that a learning rate for a stage does not bring back the decay of its
    normalisations. And parameters with equal settings share a group, so that the optimizer takes them in one go.

    `paramwise_cfg=dict(norm_decay_mult=0.0, custom_keys={"backbone.layer1": dict(lr_mult=0.05)})`: of the keys that a
    parameter's name contains, the longest that states a setting (`lr_mult`, `decay_mult`) gives it;
    `norm_decay_mult` is the decay of normalisations that no key names.
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
        """Add a group for each pair of settings; the one that deviates in nothing, whose rate is logged, comes first.

        Raises:
            ConfigError: a key that no parameter's name contains.
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
