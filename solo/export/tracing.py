"""Trace an exported graph with `torch.export`."""

from __future__ import annotations

from typing import Any

import torch
from torch.export import Dim, ExportedProgram
from torch.torch_version import TorchVersion

from solo.errors import ExportError
from solo.export.graph import ExportedGraph
from solo.models.preprocessor import SIZE_DIVISOR
from solo.runtime.metadata import INPUT_NAME

OLDEST_TESTED_TORCH = "2.13"
SAMPLE_BATCH, SAMPLE_SIZE = 2, (192, 320)
"""Of the traced input, where the graph takes any. A side of 1 would be taken for a constant, also that of the map at
stride 64, and equal sides for one."""

MIN_DYNAMIC_SIZE = 96
"""Least H and W of a graph that takes any: `torch.export` tells maps of one pixel from larger ones."""


def trace(graph: ExportedGraph, *, size: tuple[int, int] | None, batch: int | None) -> ExportedProgram:
    """Trace a graph.

    Args:
        graph: in evaluation mode.
        size: (H, W) of all inputs; None for any that 32 divides.
        batch: B of all inputs; None for any.

    Raises:
        ExportError: torch is older than those that exports are tested with, and cannot trace the model.
    """
    dims: dict[int, Any] = {}
    if batch is None:
        dims[0] = Dim("batch", min=1)
    if size is None:
        dims[2], dims[3] = (
            SIZE_DIVISOR * Dim(name, min=MIN_DYNAMIC_SIZE // SIZE_DIVISOR) for name in ("rows", "columns")
        )
    height, width = size or SAMPLE_SIZE
    images = torch.zeros((batch or SAMPLE_BATCH, len(graph.mean), height, width), dtype=torch.uint8)
    try:
        with torch.no_grad():
            return torch.export.export(graph, (images,), dynamic_shapes={INPUT_NAME: dims or None}, strict=False)
    except Exception as error:  # torch 2.4 raises several kinds
        if TorchVersion(torch.__version__) >= OLDEST_TESTED_TORCH:
            raise
        raise ExportError(
            f"torch {torch.__version__} cannot trace this model ({type(error).__name__}); "
            f"exports are tested with torch {OLDEST_TESTED_TORCH} and newer"
        ) from error
