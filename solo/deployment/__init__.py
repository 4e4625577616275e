"""Faster ways to run a trained network: chosen in `DeploymentOptions`, done by `deploy`."""

from __future__ import annotations

from solo.deployment.deploy import deploy
from solo.deployment.options import DeploymentOptions

__all__ = ["DeploymentOptions", "deploy"]
