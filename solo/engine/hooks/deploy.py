"""Deployment options for testing."""

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
