"""Whether an operation is being exported."""

from __future__ import annotations

import torch


def is_exporting() -> bool:
    """Whether `torch.export` traces the caller.

    Some operations then take another form: sizes are symbols, and the graph should hold operators that ONNX and other
    runtimes know.
    """
    return bool(getattr(torch.compiler, "is_exporting", bool)())  # torch 2.7 has it
