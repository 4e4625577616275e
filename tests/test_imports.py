"""Imports go down only (docs/architecture.md): what each part may know, and which packages the algorithm stands on."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT as REPOSITORY

ROOT = REPOSITORY / "solo"
EVERYWHERE = {"errors", "output_files", "registry", "structures"}
MAY_KNOW = {
    "ops": set(),
    "masks": {"ops", "errors"},
    "structures.py": {"masks", "ops"},
    "tiles": {"errors", "masks"},
    "models": {"masks", "ops", "errors", "registry", "structures", "tiles"},
    "images": {"errors"},
    "datasets": {"images", "masks", "ops", *EVERYWHERE},
    "datasets/insight": {"datasets", "images", "masks", "models", "ops", *EVERYWHERE},  # the assigner decides
    "evaluation": {"datasets", "images", "masks", "ops", *EVERYWHERE},
    "checkpoints": {"config", "datasets", "masks", "ops", *EVERYWHERE},
    "runtime": {"cli", "errors", "images", "inference", "masks", "tiles"},  # the command line in its __main__ alone
    "export": {
        *("checkpoints", "config", "datasets", "deployment", "images", "inference"),
        *("masks", "models", "ops", "runtime", "tiles"),
        *EVERYWHERE,
    },
    "deployment": {"masks", "models", "ops", *EVERYWHERE},
}
STANDS_ON = {
    "images": {"cv2", "numpy"},
    "ops": {"torch"},
    "tiles": {"cv2", "numpy"},
    "masks": {"cv2", "numpy", "torch"},
    "models": {"mmengine", "numpy", "torch"},
}
# mmdet's transforms call methods of `InstanceMasks` that give mmdet's own types; these import it when they are called.
IMPORTED_LATE = {"masks": {"mmdet"}, "models": {"timm"}, "images": {"tifffile"}}
NUMPY_ALONE = ["column_runs", "polygon_runs", "resize_taps", "rle", "segmentations", "transformed_runs"]


def imported_modules(part: str) -> Iterator[str]:
    """All that the files of a part import, within functions too."""
    path = ROOT / part
    for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
        if file.relative_to(ROOT).parts[:-1] != Path(part).parts and f"{part}/{file.parent.name}" in MAY_KNOW:
            continue  # a part of its own
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield str(node.module)


@pytest.mark.parametrize("part", MAY_KNOW)
def test_a_part_knows_only_those_below(part: str) -> None:
    known = {name.split(".")[1] for name in imported_modules(part) if name.startswith("solo.")}
    assert known - {part.removesuffix(".py")} <= MAY_KNOW[part]


@pytest.mark.parametrize("part", STANDS_ON)
def test_the_algorithm_stands_on_few_packages(part: str) -> None:
    packages = {name.partition(".")[0] for name in imported_modules(part)} - sys.stdlib_module_names - {"solo"}
    assert packages - IMPORTED_LATE.get(part, set()) == STANDS_ON[part]


def test_packages_that_are_imported_late_are_not_needed() -> None:
    for part, packages in IMPORTED_LATE.items():
        for file in (ROOT / part).rglob("*.py"):
            statements = ast.parse(file.read_text(encoding="utf-8")).body
            modules = {str(node.module) for node in statements if isinstance(node, ast.ImportFrom)}
            modules |= {alias.name for node in statements if isinstance(node, ast.Import) for alias in node.names}
            assert packages.isdisjoint(name.partition(".")[0] for name in modules), file


@pytest.mark.parametrize("module", NUMPY_ALONE)
def test_masks_on_the_cpu_need_numpy_alone(module: str) -> None:
    """And modules of `solo.masks` for which the same holds."""
    imported = set(imported_modules(f"masks/{module}.py"))
    known = {f"solo.masks.{name}" for name in NUMPY_ALONE}
    assert {name.partition(".")[0] for name in imported - known} - sys.stdlib_module_names == {"numpy"}
