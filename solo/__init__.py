"""SOLOv2 instance segmentation: train, test and predict from a config."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from solo.config import load_config
    from solo.inference.instances import Instances
    from solo.inference.predictor import SOLOPredictor
    from solo.inference.visualization import draw_instances

__version__ = "0.1.0"

__all__ = ["Instances", "SOLOPredictor", "__version__", "draw_instances", "load_config"]

_HOME = {
    "Instances": "solo.inference.instances",
    "SOLOPredictor": "solo.inference.predictor",
    "draw_instances": "solo.inference.visualization",
    "load_config": "solo.config",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import solo` stays quick and needs no torch."""
    if name not in _HOME:
        raise AttributeError(f"module 'solo' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _AdaptOpenMMLab(MetaPathFinder):
    """Applies `solo.compat` right after the first import of mmengine, which mmcv and mmdet import before all else."""

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != "mmengine":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_adapt(module: ModuleType) -> None:
                execute(module)
                importlib.import_module("solo.compat").apply()

            spec.loader.exec_module = execute_and_adapt  # type: ignore[method-assign]
        return spec


if "mmengine" in sys.modules:
    importlib.import_module("solo.compat").apply()
else:
    sys.meta_path.insert(0, _AdaptOpenMMLab())
