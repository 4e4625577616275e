"""Run the network of a test with deployment options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from solo.deployment import DeploymentOptions, deploy
from solo.inference.tta.config import trained_model
from solo.registry import HOOKS


@HOOKS.register_module()
class DeploymentHook(Hook):
    """Deploy the model once its weights are loaded, before a test and only there.

    Args:
        options: of `DeploymentOptions`; None for what is recommended on the model's device.

    Raises:
        ConfigError: an option is unknown, or not for this model or device.
    """

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        self.options = None if options is None else DeploymentOptions.from_mapping(options)

    def before_test(self, runner: Runner) -> None:
        """Deploy what is tested."""
        model = trained_model(runner.model)
        deploy(model, self.options or DeploymentOptions.recommended(next(model.parameters()).device))
