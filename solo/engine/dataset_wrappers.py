"""Seeing through mmengine's dataset wrappers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def inner_datasets(dataset: Any) -> Iterator[Any]:
    """The datasets that hold samples, below any `ConcatDataset`, `RepeatDataset` or `ClassBalancedDataset`."""
    if hasattr(dataset, "datasets"):
        for part in dataset.datasets:
            yield from inner_datasets(part)
    elif hasattr(dataset, "dataset"):
        yield from inner_datasets(dataset.dataset)
    else:
        yield dataset
