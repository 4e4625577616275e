"""Configs read top to bottom: steps by name, short chains of bases."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from solo.config import load_config
from tests.helpers.config_snapshots import SHIPPED
from tests.helpers.paths import CONFIGS

FILES = sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*.py"))
MAX_FILES_IN_CHAIN = 4


def bases(path: Path) -> list[Path]:
    """The files that a config inherits from directly."""
    for line in ast.parse(path.read_text()).body:
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name) and line.targets[0].id == "_base_":
            names = ast.literal_eval(line.value)
            return [path.parent / name for name in ([names] if isinstance(names, str) else names)]
    return []


def chain_length(path: Path) -> int:
    """Number of files from a config down to its deepest base."""
    return 1 + max(map(chain_length, bases(path)), default=0)


def positional_uses(path: Path) -> Iterator[str]:
    """`_base_.something[...]`: entries of a base's list taken by their index."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value).startswith("_base_."):
            yield ast.unparse(node)


@pytest.mark.parametrize("name", FILES)
def test_chains_of_bases_are_short(name: str) -> None:
    assert chain_length(CONFIGS / name) <= MAX_FILES_IN_CHAIN


@pytest.mark.parametrize("name", FILES)
def test_entries_of_bases_are_named(name: str) -> None:
    assert list(positional_uses(CONFIGS / name)) == []


@pytest.mark.parametrize("name", FILES)
def test_every_config_starts_with_a_comment(name: str) -> None:
    assert (CONFIGS / name).read_text().startswith("# ")


@pytest.mark.parametrize("name", SHIPPED)
def test_named_steps_are_those_of_the_pipelines(name: str) -> None:
    """A step that a child redefines is merged with the base's: it must come out as the step that the pipeline has."""
    config = load_config(CONFIGS / name)
    dataset = config.train_dataloader.dataset
    pipeline = dataset.get("dataset", dataset).pipeline
    assert config.load in pipeline and config.load_instances in pipeline and config.pack in pipeline
    assert [config.warmup, config.decay] == config.param_scheduler
    named = [config.get(step) for step in ("multi_scale_resize", "random_resize", "flip", "distort", "overlap_crop")]
    used = {step.type for step in pipeline}
    assert all(step in pipeline for step in named if step and step.type in used)
    resizes = [step for step in config.test_dataloader.dataset.pipeline if "Resize" in step.type]
    assert resizes in ([], [config.test_resize])


def test_steps_that_pipelines_share_are_overridden_one_by_one() -> None:
    """`load` is in both pipelines: an override of one leaves the other."""
    override = {"train_dataloader.dataset.pipeline.0": {"type": "LoadImage", "_scope_": "solo"}}
    config = load_config(CONFIGS / "shapes" / "solov2-nano_shapes.py", override)
    assert config.train_dataloader.dataset.pipeline[0] == {"type": "LoadImage", "_scope_": "solo"}
    assert config.test_dataloader.dataset.pipeline[0] == {"type": "LoadImage"}
