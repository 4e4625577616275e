"""What the tests of the released configs share: published scale ranges, and a step of a pipeline by its type."""

from __future__ import annotations

from typing import Any

FULL_RANGES = [(1, 96), (48, 192), (96, 384), (192, 768), (384, 2048)]
LIGHT_RANGES = [(1, 56), (28, 112), (56, 224), (112, 448), (224, 896)]


def step(pipeline: list[dict[str, Any]], *types: str) -> dict[str, Any]:
    """The one step of a pipeline that has one of the types."""
    (found,) = [step for step in pipeline if step["type"] in types]
    return found
