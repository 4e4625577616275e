"""Runs exported models with numpy, OpenCV and ONNX Runtime or OpenVINO: nothing here imports torch or mmengine.

`ExportedModel` opens a file and predicts; `SOLOPredictor` uses it for exported files. `python -m solo.runtime` predicts
image files.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from solo.runtime.model import ExportedModel
    from solo.runtime.sessions import RuntimeOptions

__all__ = ["ExportedModel", "RuntimeOptions"]

_HOME = {"ExportedModel": "solo.runtime.model", "RuntimeOptions": "solo.runtime.sessions"}


def __getattr__(name: str) -> Any:
    """Import a public name on first use: `solo.export` reads the metadata's module alone."""
    if name not in _HOME:
        raise AttributeError(f"module 'solo.runtime' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
