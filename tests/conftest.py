"""Fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import solo  # noqa: F401  (makes mmdet importable, whichever test comes first)
from tests.helpers.paths import SHARED


def _shared_folder(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: this test needs the shared {name} beside the project")
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of the real images, `coco_mini` and `nuclei256`."""
    return _shared_folder("data")


@pytest.fixture(scope="session")
def shared_golden() -> Path:
    """The folder of the recorded numbers of other implementations."""
    return _shared_folder("golden")


@pytest.fixture
def generator() -> torch.Generator:
    """A fixed source of random numbers."""
    return torch.Generator().manual_seed(0)
