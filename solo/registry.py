"""Registries of `solo`, children of mmengine's: configs can use `mmdet.ResNet` beside our own components."""

from __future__ import annotations

from mmengine import registry as mmengine_registry
from mmengine.registry import Registry, root

SCOPE = "solo"


def _child(parent: Registry, *modules: str) -> Registry:
    """Create a registry that imports `modules` when a name is first looked up."""
    return Registry(parent.name, parent=parent, scope=SCOPE, locations=list(modules))


MODELS = _child(mmengine_registry.MODELS, "solo.models", "solo.inference.tta")
TASK_UTILS = _child(mmengine_registry.TASK_UTILS, "solo.models")
TRANSFORMS = _child(mmengine_registry.TRANSFORMS, "solo.datasets")
DATASETS = _child(mmengine_registry.DATASETS, "solo.datasets")
METRICS = _child(mmengine_registry.METRICS, "solo.evaluation")
HOOKS = _child(mmengine_registry.HOOKS, "solo.engine")
LOOPS = _child(mmengine_registry.LOOPS, "solo.engine")
OPTIM_WRAPPER_CONSTRUCTORS = _child(mmengine_registry.OPTIM_WRAPPER_CONSTRUCTORS, "solo.engine")
VISUALIZERS = _child(mmengine_registry.VISUALIZERS, "solo.inference.visualization")

# mmengine warns at every lookup in a registry that has no child of the default scope.
for _parent in vars(root).values():
    if isinstance(_parent, Registry) and SCOPE not in _parent.children:
        Registry(_parent.name, parent=_parent, scope=SCOPE)
