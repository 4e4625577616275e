"""Faster inference with a trained network: `DeploymentOptions` says how, `deploy` applies them to a model."""

from __future__ import annotations

from solo.deployment.deploy import deploy
from solo.deployment.options import DeploymentOptions

__all__ = ["DeploymentOptions", "deploy"]
