"""Hooks that mmengine lacks; configs name them under `custom_hooks`."""

from __future__ import annotations

from solo.engine.hooks.checkpoint import SafeCheckpointHook
from solo.engine.hooks.curves import CurvesHook
from solo.engine.hooks.datasets import ClassNamesHook, DatasetEpochHook, UnreadableImagesHook
from solo.engine.hooks.ema import BiasCorrectedEMAHook
from solo.engine.hooks.freezing import FreezeHook
from solo.engine.hooks.network_options import DeploymentHook, NetworkOptionsHook
from solo.engine.hooks.non_finite_loss import NonFiniteLossHook
from solo.engine.hooks.runtime_info import DeferredRuntimeInfoHook, PeakMemoryHook
from solo.engine.hooks.stop_signals import StopSignalsHook
from solo.engine.hooks.validation_loss import ValidationLossHook
from solo.engine.hooks.visualization import VisualizationHook

__all__ = [
    "BiasCorrectedEMAHook",
    "ClassNamesHook",
    "CurvesHook",
    "DatasetEpochHook",
    "DeferredRuntimeInfoHook",
    "DeploymentHook",
    "FreezeHook",
    "NetworkOptionsHook",
    "NonFiniteLossHook",
    "PeakMemoryHook",
    "SafeCheckpointHook",
    "StopSignalsHook",
    "UnreadableImagesHook",
    "ValidationLossHook",
    "VisualizationHook",
]
