"""Training a part of the network: parameters by the pattern of their name."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from solo.errors import ConfigError
from solo.registry import HOOKS


@HOOKS.register_module()
class FreezeHook(Hook):
    """Keep parameters whose name matches a pattern, and the running statistics of norms among them.

    Args:
        names: shell patterns of parameter names, such as "backbone.*" or "*.bias".
    """

    def __init__(self, *, names: Sequence[str]) -> None:
        self.names = (names,) if isinstance(names, str) else tuple(names)
        self._norms: list[nn.Module] = []

    def freeze(self, model: nn.Module) -> int:
        """Freeze the parameters, before the model is wrapped for several processes and its optimiser built.

        Returns:
            How many parameters are frozen.

        Raises:
            ConfigError: a pattern matches no parameter, or all parameters are frozen.
        """
        parameters = dict(model.named_parameters())
        for pattern in self.names:
            if not any(fnmatchcase(name, pattern) for name in parameters):
                raise ConfigError(
                    f"FreezeHook.names: {pattern!r} matches no parameter, such as {next(iter(parameters))}"
                )
        frozen = {name for name in parameters if self._matches(name)}
        if frozen == set(parameters):
            raise ConfigError(f"FreezeHook.names: {', '.join(self.names)} leaves no parameter to train")
        for name in frozen:
            parameters[name].requires_grad_(False)
        self._norms = _frozen_norms(model, frozen)
        return len(frozen)

    def before_run(self, runner: Runner) -> None:
        """Find the norms of the model that the runner has wrapped."""
        model: Any = getattr(runner.model, "module", runner.model)
        self._norms = _frozen_norms(model, {name for name, _ in model.named_parameters() if self._matches(name)})

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Keep frozen norms in evaluation mode, which `model.train()` ends."""
        for norm in self._norms:
            norm.eval()

    def _matches(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self.names)


def _frozen_norms(model: nn.Module, frozen: set[str]) -> list[nn.Module]:
    return [
        module
        for path, module in model.named_modules()
        if isinstance(module, _BatchNorm) and {f"{path}.weight", f"{path}.bias"} <= frozen
    ]
