"""Hooks that mmengine lacks; configs name them under `custom_hooks`."""

from __future__ import annotations

from solo.engine.hooks.checkpoint import KeepingCheckpointHook
from solo.engine.hooks.class_names import ClassNamesHook
from solo.engine.hooks.curves import CurvesHook
from solo.engine.hooks.dataset_epoch import DatasetEpochHook
from solo.engine.hooks.deferred_runtime_info import DeferredRuntimeInfoHook
from solo.engine.hooks.deploy import DeploymentHook
from solo.engine.hooks.ema import RampedEMAHook
from solo.engine.hooks.network_options import NetworkOptionsHook
from solo.engine.hooks.non_finite_loss import NonFiniteLossHook
from solo.engine.hooks.peak_memory import HostMemoryHook
from solo.engine.hooks.pictures import PicturesHook
from solo.engine.hooks.stop_signals import StopSignalsHook
from solo.engine.hooks.unreadable_images import UnreadableImagesHook

__all__ = [
    "ClassNamesHook",
    "CurvesHook",
    "DatasetEpochHook",
    "DeferredRuntimeInfoHook",
    "DeploymentHook",
    "HostMemoryHook",
    "KeepingCheckpointHook",
    "NetworkOptionsHook",
    "NonFiniteLossHook",
    "PicturesHook",
    "RampedEMAHook",
    "StopSignalsHook",
    "UnreadableImagesHook",
]
