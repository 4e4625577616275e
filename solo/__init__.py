"""SOLOv2 instance segmentation: train, test and predict from a config."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from solo import compat as _compat

if TYPE_CHECKING:
    from solo.config import load_config
    from solo.inference.predictor import SOLOPredictor
    from solo.inference.visualization import draw_instances

__version__ = "0.1.0"

__all__ = ["SOLOPredictor", "__version__", "draw_instances", "load_config"]

_compat.apply()

_HOME = {
    "SOLOPredictor": "solo.inference.predictor",
    "draw_instances": "solo.inference.visualization",
    "load_config": "solo.config",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that `import solo` stays quick."""
    if name not in _HOME:
        raise AttributeError(f"module 'solo' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
