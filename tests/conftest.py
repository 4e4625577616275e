"""Fixtures that every test may use."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
import torch

import solo  # noqa: F401  (makes mmdet importable, whichever test comes first)
from solo.errors import ExportError
from tests.helpers.paths import SHARED


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Generator[None, object, object]:
    """Skip a test whose torch is older than exports are tested with and cannot trace the model: it says so."""
    try:
        return (yield)
    except ExportError as error:
        if "exports are tested with torch" not in str(error):
            raise
        pytest.skip(str(error))


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
