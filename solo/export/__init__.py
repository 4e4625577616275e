"""Export of trained models to ONNX, OpenVINO and `torch.export` files that contain all that is needed to run them."""

from __future__ import annotations

from solo.export.exporting import export_model
from solo.export.options import ExportOptions

__all__ = ["ExportOptions", "export_model"]
