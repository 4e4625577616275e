"""Registries of `solo`: children of mmengine's, so that configs may name `mmdet.ResNet` beside our own components."""

from __future__ import annotations

from mmengine import registry as mmengine_registry
from mmengine.registry import Registry

SCOPE = "solo"


def _child(parent: Registry, *, module: str) -> Registry:
    """A registry of this package that imports `module` when a name is first looked up."""
    return Registry(parent.name, parent=parent, scope=SCOPE, locations=[module])


MODELS = _child(mmengine_registry.MODELS, module="solo.models")
TASK_UTILS = _child(mmengine_registry.TASK_UTILS, module="solo.models")
TRANSFORMS = _child(mmengine_registry.TRANSFORMS, module="solo.datasets")
DATASETS = _child(mmengine_registry.DATASETS, module="solo.datasets")
METRICS = _child(mmengine_registry.METRICS, module="solo.evaluation")
HOOKS = _child(mmengine_registry.HOOKS, module="solo.engine")
LOOPS = _child(mmengine_registry.LOOPS, module="solo.engine")
OPTIM_WRAPPER_CONSTRUCTORS = _child(mmengine_registry.OPTIM_WRAPPER_CONSTRUCTORS, module="solo.engine")
VISUALIZERS = _child(mmengine_registry.VISUALIZERS, module="solo.visualization")
