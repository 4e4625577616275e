"""Models as folders of weights and config: those that `solo publish` wrote, and those that come with solo."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from solo.errors import CheckpointError, printable, suggestion

MODELS = Path(__file__).resolve().parents[1] / "weights"
"""The models of this package, a folder each."""
CONFIG = "config.py"
WEIGHTS = ("weights.safetensors", "weights.pth")


class PublishedModel(NamedTuple):
    """The files of a model."""

    config: Path
    weights: Path


def model_names() -> list[str]:
    """Names of the models that come with solo."""
    return sorted(folder.name for folder in MODELS.glob("*") if _model_in(folder) is not None)


def find_model(name: str | os.PathLike[str]) -> PublishedModel:
    """Find a model by its name, or by the folder that `solo publish` wrote.

    Raises:
        CheckpointError: there is none.
    """
    for folder in (Path(name), MODELS / name):
        if (found := _model_in(folder)) is not None:
            return found
    known, shown = model_names(), printable(os.fspath(name))
    if Path(name).is_dir():
        raise CheckpointError(
            f"{shown}: a model's folder holds {CONFIG} and {' or '.join(WEIGHTS)}, as solo publish writes"
        )
    raise CheckpointError(
        f"no model or folder {shown!r}{suggestion(os.fspath(name), known)}; solo brings {', '.join(known)}"
    )


def is_model(name: object) -> bool:
    """Whether `find_model` finds this."""
    if not isinstance(name, (str, os.PathLike)):
        return False
    return any(_model_in(folder) is not None for folder in (Path(name), MODELS / name))


def _model_in(folder: Path) -> PublishedModel | None:
    if not (folder / CONFIG).is_file():
        return None
    weights = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    return None if weights is None else PublishedModel(folder / CONFIG, weights)
